"""The files that other package managers take: they say what pyproject.toml says."""

import hashlib
import re
import runpy
import tomllib
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
