"""The files that other package managers take: they say what pyproject.toml says."""

import hashlib
import importlib.metadata
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
fill = runpy.run_path(str(ROOT / "packaging" / "fill.py"))["fill"]


def test_formula_and_recipe_name_the_distribution_and_its_hash(tmp_path):
    distribution = tmp_path / "betwixt-1.2.3.tar.gz"
    distribution.write_bytes(b"content")
    written = fill(distribution, tmp_path / "out")
    assert [path.name for path in written] == ["betwixt.rb", "recipe.yaml"]
    for path in written:
        text = path.read_text("utf-8")
        assert "@" not in text.replace("python@3.12", "")
        assert hashlib.sha256(b"content").hexdigest() in text
        assert "1.2.3" in text
        assert f'"{PROJECT["description"]}"' in text or f": {PROJECT['description']}\n" in text
    with pytest.raises(SystemExit, match="is not a source distribution"):
        fill(tmp_path / "betwixt.zip", tmp_path)


def test_the_recipe_needs_what_the_package_needs():
    recipe = (ROOT / "packaging" / "conda" / "recipe.yaml.in").read_text("utf-8")
    run = re.search(r"\n  run:\n((?:    - .*\n)+)", recipe)
    names = {"opencv-python-headless": "py-opencv"}
    found = {tuple(line.removeprefix("    - ").split(" ", 1)) for line in run[1].splitlines()}
    expected = {("python", PROJECT["requires-python"])}
    for requirement in PROJECT["dependencies"]:
        name, version = re.fullmatch(r"([\w-]+)(.*)", requirement).groups()
        expected.add((names.get(name, name), version))
    assert found == expected


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """The folder of the formula and the recipe of a version."""
    (tmp_path / "betwixt-1.2.3.tar.gz").write_bytes(b"content")
    fill(tmp_path / "betwixt-1.2.3.tar.gz", tmp_path)
    return tmp_path


RECIPE_KEYS = {
    "": {"schema_version", "context", "package", "source", "build", "requirements", "tests", "about", "extra"},
    "package": {"name", "version"},
    "source": {"url", "sha256"},
    "build": {"number", "noarch", "script", "python"},
    "requirements": {"host", "run"},
    "about": {"homepage", "repository", "summary", "license", "license_file"},
}
"""Of the keys that the recipe format, version 1, knows, those that the recipe uses."""


def test_the_recipe_has_the_keys_of_its_format(filled):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    recipe = yaml.safe_load((filled / "recipe.yaml").read_text("utf-8"))
    assert recipe["schema_version"] == 1
    for section, keys in RECIPE_KEYS.items():
        assert set(recipe[section] if section else recipe) == keys
    assert recipe["context"] == {"version": "1.2.3"}
    assert re.fullmatch(r"[0-9a-f]{64}", recipe["source"]["sha256"])
    assert recipe["build"]["python"]["entry_points"] == [f"{n} = {v}" for n, v in PROJECT["scripts"].items()]
    assert [set(test) for test in recipe["tests"]] == [{"python"}, {"script"}]


def test_rattler_build_renders_the_recipe(filled):
    rattler_build = pytest.importorskip("rattler_build", reason="pip install py-rattler-build")
    (variant,) = rattler_build.Stage0Recipe.from_file(str(filled / "recipe.yaml")).render()
    recipe = variant.recipe
    assert (recipe.package.name, recipe.package.version) == ("betwixt", "1.2.3")


@pytest.mark.skipif(shutil.which("ruby") is None, reason="Ruby is not installed")
def test_the_formula_is_ruby(filled):
    shown = subprocess.run(["ruby", "-wc", filled / "betwixt.rb"], capture_output=True, text=True)
    assert (shown.returncode, shown.stdout.strip(), shown.stderr) == (0, "Syntax OK", "")


def test_the_image_is_built_from_files_that_exist():
    copied = re.findall(r"^COPY (?!--from)(.+) /source/", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    sources = [name for line in copied for name in line.split()]
    sent = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if "!" in line}
    assert set(sources) == sent
    assert all((ROOT / name).exists() for name in sources)


def test_the_cluster_on_kubernetes_fits_the_image():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    spec = yaml.safe_load((ROOT / "packaging" / "kuberay.yaml").read_text("utf-8"))["spec"]
    (workers,) = spec["workerGroupSpecs"]
    head = spec["headGroupSpec"]["template"]["spec"]
    (ray_head,), (ray_worker,) = head["containers"], workers["template"]["spec"]["containers"]
    page = (ROOT / "docs" / "how-to" / "cluster.md").read_text("utf-8")
    assert ray_head["image"] == ray_worker["image"]
    assert f"docker build --tag {ray_head['image']} --build-arg EXTRAS=cluster" in page
    for container, port in ((ray_head, "6379"), (ray_worker, workers["rayStartParams"]["node-manager-port"])):
        for probe in ("readinessProbe", "livenessProbe"):
            assert container[probe]["tcpSocket"]["port"] == int(port)
    assert [mount["name"] for mount in ray_head["volumeMounts"]] == [volume["name"] for volume in head["volumes"]]
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert head["securityContext"]["fsGroup"] == int(user[2])


def copy_small(source: str, target: str) -> None:
    """Copy a file, or make an empty one in place of a large one: only its name is looked at."""
    if os.path.getsize(source) > 100_000:
        Path(target).touch()
    else:
        shutil.copyfile(source, target)


def build(kind: str, source: Path, target: Path) -> Path:
    """Build a source distribution or a wheel with the setuptools that is installed: that needs no network."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True, text=True)
    (built,) = target.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what the source distribution holds."""
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.partition(".")[0]) < 77:
        pytest.skip("The package is built with setuptools 77 or later.")
    folder = tmp_path_factory.mktemp("build")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", folder / "source" / "src", ignore=ignored, copy_function=copy_small)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, folder / "source" / name)
    with tarfile.open(build("sdist", folder / "source", folder)) as distribution:
        distribution.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return build("wheel", unpacked, folder)


def test_the_wheel_has_every_file_of_the_package(wheel):
    expected = {
        f"betwixt/{path.relative_to(ROOT / 'src' / 'betwixt').as_posix()}"
        for path in (ROOT / "src" / "betwixt").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    others = {name for name in names - expected if ".dist-info/" not in name}
    assert expected <= names
    assert [name.partition(".data/")[2] for name in others] == ["data/share/betwixt/betwixt.vpy"]
    # Of each kind of data that is loaded by name.
    for pattern in (
        r"training/recipes/.+\.toml",
        r"weights/embedded/.+\.onnx",
        r"integrations/.+\.vpy",
        r"web/static/.+\.css",
    ):
        assert any(re.fullmatch(f"betwixt/{pattern}", name) for name in names)


def test_the_wheel_states_what_the_project_states(wheel):
    (info,) = (path for path in zipfile.Path(wheel).iterdir() if path.name.endswith(".dist-info"))
    stated = importlib.metadata.PathDistribution(info)
    assert stated.metadata["Requires-Python"] == PROJECT["requires-python"]
    needed = {re.sub(r"[<>=].*", "", line) for line in stated.requires if "extra ==" not in line}
    assert needed == {re.sub(r"[<>=].*", "", line) for line in PROJECT["dependencies"]}
    assert set(stated.metadata.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    (command,) = stated.entry_points.select(group="console_scripts")
    assert (command.name, command.value) == ("betwixt", "betwixt.cli.main:main")
    assert callable(command.load())


def test_the_wheel_can_be_installed(wheel, tmp_path):
    pytest.importorskip("pip")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([*install, "--target", tmp_path, wheel], check=True, capture_output=True)
    show = "import importlib.metadata as m, betwixt; print(betwixt.__file__, m.version('betwixt'), betwixt.__version__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", show]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    path, installed, own = shown.split()
    assert Path(path).is_relative_to(tmp_path)
    assert installed == own
    assert (tmp_path / "share" / "betwixt" / "betwixt.vpy").is_file()
