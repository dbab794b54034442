"""`virnucpro doctor`: what it finds on a machine that is well, and on ones that are not."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from conftest import ESM_8M, ROOT, command

from virnucpro import __version__
from virnucpro.config.settings import Settings
from virnucpro.diagnostics import doctor, memory_needs, self_test
from virnucpro.diagnostics.doctor import examine
from virnucpro.diagnostics.finding import NOTE, OK, PROBLEM
from virnucpro.models import attention
from virnucpro.models.catalog import PRECISIONS
from virnucpro.models.language_models import LANGUAGE_MODELS
from virnucpro.system import packages

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def without_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture(autouse=True)
def good_packages(monkeypatch):
    """They are imported here already; that doctor has another process try takes seconds, and has tests of its own."""
    monkeypatch.setattr(doctor, "import_errors", dict)


def findings(weights, quick=True, **more):
    found = list(examine(Settings(("-",), weights, weights_dir=weights, esm_model=ESM_8M, **more), quick))
    assert all(isinstance(finding.text, str) for finding in found)
    return found


def of(found, subject):
    return [(finding.verdict, finding.text) for finding in found if finding.subject == subject]


@pytest.fixture
def recorded(main, weights, tmp_path):
    """The small weights, taken as good."""
    directory = shutil.copytree(weights, tmp_path / "w")
    assert main("weights", "verify", "--record", "--force", "--weights-dir", directory)[0] == 0
    return directory


def test_a_machine_without_a_gpu(recorded):
    done = subprocess.run(
        command("doctor", "--weights-dir", recorded, "--esm-model", ESM_8M),
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    shown = re.sub(r"\n +", " ", done.stdout)
    assert shown.startswith(f"ok       virnucpro    {__version__}, Python 3.")
    assert f"torch {importlib.metadata.version('torch')}, numpy" in shown
    for line in (
        "ok       cpu          precision fp32 (auto)",
        "ok       cpu          attention triton: needs a CUDA GPU",
        "ok       cpu          attention sdpa: chosen",
        "ok       cpu          between matrix products: PyTorch's own steps (fused ones are for CUDA)",
        f"note     weights      {recorded}/{ESM_8M}.pt: as recorded, not the published file",
        f"ok       weights      {recorded}/500_model.pth: as recorded",
    ):
        assert line in shown.splitlines()
    assert len(re.findall(r"ok       self-test    \S+ layers, attention sdpa, fp32: error \S+, allowed", shown)) == 2
    assert shown.endswith("No problem found.\n")


def test_what_is_missing_is_told_with_what_to_do(tmp_path, capsys):
    from virnucpro.cli import main

    assert main(["doctor", "--quick", "--weights-dir", str(tmp_path / "none")]) == 1
    said = re.sub(r"\n +", " ", capsys.readouterr().out)
    for name in ("esm2_t36_3B_UR50D", "DNABERT-S", "500_model"):
        assert re.search(
            rf"PROBLEM  weights +no {name} .* -> virnucpro weights fetch {name} --weights-dir \S+/none\n", said
        )
    assert "6.1 needed for missing weights" in said
    assert re.search(r"\d problems found.\n$", said)


def test_weights_that_changed(recorded):
    with open(recorded / "500_model.pth", "ab") as end:
        end.write(b" ")
    (finding,) = [text for verdict, text in of(findings(recorded, quick=False), "weights") if verdict == PROBLEM]
    assert "500_model.pth: not the file on record" in finding


@pytest.mark.parametrize(
    "said",
    [
        {"torch": "torch +cannot be imported (OSError: libcudart.so.12: cannot open shared object file)"},
        {"h5py": "h5py +cannot be imported (OSError: libcudart.so.12: cannot open shared object file)"},
        {
            "tenacity": "only `virnucpro weights fetch` needs it",
            "scipy": "only `virnucpro train.evaluate` needs it",
        },
    ],
    ids=" and ".join,
)
def test_broken_installs(weights, tmp_path, said):
    """The rest is examined all the same, and there is no traceback."""
    for module in said:
        (tmp_path / f"{module}.py").write_text('raise OSError("libcudart.so.12: cannot open shared object file")\n')
    path = os.pathsep.join([str(tmp_path), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command("doctor", "--quick", "--weights-dir", weights, "--esm-model", ESM_8M),
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path},
    )  # fmt: skip
    shown = re.sub(r"\n +", " ", done.stdout)
    assert done.returncode == (0 if "scipy" in said else 1), shown
    for module, words in said.items():
        assert re.search(words.replace("(", r"\(").replace(")", r"\)"), shown)
        assert f"pip install --force-reinstall {module}" in shown
    assert "disk" in shown and "Traceback" not in shown + done.stderr


def test_a_package_that_is_too_old(weights, monkeypatch):
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["torch>=99.1", 'tomli>=2; python_version < "3"'])
    assert (PROBLEM, f"{importlib.metadata.version('torch')}, and 99.1 is needed") in of(findings(weights), "torch")


@pytest.mark.parametrize(
    "cuda, hidden, verdict, said",
    [
        (None, None, PROBLEM, "is built for the CPU only"),
        ("13.0", None, PROBLEM, "built for CUDA 13.0; the driver can do 12.2: no GPU"),
        ("13.0", "", NOTE, "CUDA_VISIBLE_DEVICES hides all of them"),
        ("13.0", "NoDevFiles", NOTE, "CUDA_VISIBLE_DEVICES hides all of them"),
    ],
)
def test_a_gpu_that_torch_cannot_use(weights, monkeypatch, cuda, hidden, verdict, said):
    gpu = {"name": "NVIDIA H200", "memory_bytes": 150e9, "driver": "535.1"}
    monkeypatch.setattr(
        "virnucpro.system.hardware.capture_hardware_info",
        lambda: {"gpus": [gpu], "driver_cuda": "12.2", "reason": None},
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", cuda)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    found = findings(weights)
    assert of(found, "GPU 0") == [(OK, "NVIDIA H200, 150 GB, driver 535.1 (CUDA 12.2 or earlier)")]
    assert any(each == verdict and said in text for each, text in of(found, "torch") + of(found, "GPU"))


def test_too_little_memory_and_disk(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "available_memory", lambda: 10**9)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=10**9))
    found = findings(weights)
    assert of(found, "memory") == [(PROBLEM, f"1.0 GB free, about 2.0 needed for {ESM_8M}")]
    assert of(found, "disk") == [(OK, f"1.0 GB free in {weights}")]
    found = findings(tmp_path / "none" / "there")
    assert of(found, "disk") == [(OK, f"1.0 GB free in {tmp_path}, 0.5 needed for missing weights")]
    found = list(examine(Settings(("-",), tmp_path, weights_dir=tmp_path), quick=True))
    assert of(found, "disk") == [(PROBLEM, f"1.0 GB free in {tmp_path}, 6.1 needed for missing weights")]


def test_a_check_that_fails_itself_does_not_end_the_others(weights, monkeypatch):
    monkeypatch.setattr(doctor, "_gpus", lambda torch: (_ for _ in ()).throw(RuntimeError("no /proc\nhere")))
    found = findings(weights)
    assert of(found, "doctor") == [(PROBLEM, "this check failed: RuntimeError: no /proc here")]
    assert of(found, "disk")


@pytest.mark.parametrize(
    "esm_model, parameters", [(ESM_8M, 7.4e6), ("esm2_t33_650M_UR50D", 651e6), ("esm2_t36_3B_UR50D", 2.835e9)]
)
def test_sizes_of_models(esm_model, parameters):
    assert LANGUAGE_MODELS["esm2"].parameters(esm_model) == pytest.approx(parameters, rel=0.01)


@pytest.mark.parametrize(
    "precision, budget, kind, measured",  # the peak on an H200, as torch counts
    [("fp16", 16384, "nucleotide", 7.0e9), ("int8", 16896, "protein", 9.55e9)],
)
def test_what_a_run_takes_of_a_gpu(precision, budget, kind, measured):
    needed = memory_needs.device_bytes("esm2_t36_3B_UR50D", precision, budget, kind) - memory_needs.CUDA_CONTEXT
    assert needed == pytest.approx(measured, rel=0.05)


def test_in_8_bits_each_model_is_there_as_loaded_and_esm2_once_more():
    """Numbers of ESM-2 8M: 7.4 million; of DNABERT-S, which has no likeness in 8 bits: 117."""
    esm2, dnabert_s = LANGUAGE_MODELS["esm2"].parameters(ESM_8M), LANGUAGE_MODELS["dnabert_s"].parameters(ESM_8M)
    assert memory_needs.weight_bytes(ESM_8M, "int8", "protein") == (2 + 1) * esm2
    assert memory_needs.weight_bytes(ESM_8M, "int8", "nucleotide") == (2 + 1) * esm2 + 2 * dnabert_s


def test_what_a_run_takes_of_the_host():
    # measured: 6.3 to 6.5 GB
    assert memory_needs.host_bytes("esm2_t36_3B_UR50D", "fp16", on_gpu=True) == pytest.approx(6.5e9, rel=0.2)
    assert 0 < memory_needs.available_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def write(folder, **contents):
    for name, text in contents.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_memory_of_a_batch_job(tmp_path):
    """What is cached counts as used there, and can be had; groups above limit, too; a job may have no limit."""
    proc, two, one, none = (tmp_path / name for name in ("proc", "two", "one", "none"))
    write(proc, meminfo="MemTotal: 64 kB\nMemAvailable: 48 kB\n", self__cgroup="0::/slurm/job_7\n")
    assert memory_needs.available_memory(proc, none) == 48 * 1024
    assert memory_needs.available_memory(none, none) > 48 * 1024  # of the machine
    job, above = two / "slurm" / "job_7", two / "slurm"
    write(job, memory_dot_max="max\n", memory_dot_current="9\n", memory_dot_stat="anon 5\ninactive_file 4\n")
    assert memory_needs.available_memory(proc, two) == 48 * 1024
    write(above, memory_dot_max="10000\n", memory_dot_current="8000\n", memory_dot_stat="inactive_file 3000\n")
    assert memory_needs.available_memory(proc, two) == 5000
    write(proc, self__cgroup="9:cpu:/x\n7:memory:/job\n0::/\n")
    group = one / "memory" / "job"
    write(group, memory_dot_limit_in_bytes="7000", memory_dot_usage_in_bytes="6500")
    write(group, memory_dot_stat="cache 9\ntotal_inactive_file 100\n")
    assert memory_needs.available_memory(proc, one) == 600


def test_a_gpu_with_too_little_memory(weights, monkeypatch):
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (1e9, 8e9))
    settings = Settings(("-",), weights, weights_dir=weights)
    first, _ = doctor._memory(torch.device("cuda", 0), settings, "fp16", 16384)
    assert (first.verdict, first.text) == (PROBLEM, "1.0 of 8.0 GB free, about 7.6 needed for esm2_t36_3B_UR50D")


def test_a_failed_self_test_is_a_problem(weights, monkeypatch):
    wrong = self_test.Result("ESM-2", "sdpa", 0.5, 0.1, 1.0)
    monkeypatch.setattr(self_test, "self_test", lambda *arguments: [wrong])
    assert [verdict for verdict, _ in of(findings(weights, quick=False), "self-test")] == [PROBLEM]


def test_quick_reads_the_weights_all_the_same(weights, tmp_path):
    directory = shutil.copytree(weights, tmp_path / "w")
    (directory / "500_model.pth").write_bytes((weights / "500_model.pth").read_bytes()[:-500])
    assert [text for verdict, text in of(findings(directory), "weights") if verdict == PROBLEM and "damaged" in text]


@pytest.mark.parametrize("name, verdict", [("none.pth", PROBLEM), (f"{ESM_8M}.pt", PROBLEM), ("500_model.pth", OK)])
def test_a_classifier_of_ones_own_is_looked_at(weights, name, verdict):
    found = findings(weights, model_type="custom", model_path=weights / name)
    assert [each for each, text in of(found, "weights") if name in text][-1] == verdict


def test_an_attention_that_cannot_run_is_told_and_the_rest_examined(weights):
    found = findings(weights, attention="triton")
    assert (PROBLEM, "--attention triton cannot run here: needs a CUDA GPU. Leave it to --attention auto.") in of(
        found, "cpu"
    )
    assert of(found, "memory")


def test_an_attention_that_something_can_be_done_about_is_a_note(weights, monkeypatch):
    for name, advice in (("lame", "Rest."), ("blind", "")):
        row = attention.Backend(name, lambda: attention.sdpa, (lambda *_, n=name, a=advice: attention.Unusable(n, a),))
        monkeypatch.setitem(attention.BACKENDS, name, row)
    told = [(each.verdict, each.text, each.advice) for each in findings(weights) if each.text.startswith("attention")]
    assert told[-3:] == [
        (OK, "attention sdpa: chosen", ""),
        (NOTE, "attention lame: lame", "Rest."),
        (OK, "attention blind: blind", ""),
    ]


@pytest.mark.parametrize(
    "capability, reason",
    [
        ((7, 5), "its compute capability is 7.5, and 8.0 (Ampere) is needed. Leave --precision out."),
        (
            (9, 0),
            "Triton cannot compile here (no C compiler). Install a C compiler (gcc) and Python's headers, or leave "
            "--precision out.",
        ),
    ],
)
def test_8_bits_that_a_run_refuses_are_a_problem_and_nothing_is_tested(weights, monkeypatch, capability, reason):
    """The rest is examined."""
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (8e9, 8e9))
    for module in ("virnucpro.models.ops", "virnucpro.models.attention", "virnucpro.engine.startup"):
        monkeypatch.setattr(f"{module}.cannot_compile", lambda device: "no C compiler")
    monkeypatch.setattr(self_test, "self_test", lambda *_: pytest.fail("refused, and tested all the same"))
    settings = Settings(("-",), weights, weights_dir=weights, esm_model=ESM_8M, precision="int8")
    found = list(doctor._device(torch.device("cuda", 0), settings, quick=False))
    problems = [finding.text for finding in found if finding.verdict == PROBLEM]
    assert problems == [f"--precision int8 cannot run on cuda:0: {reason}"]
    assert of(found, "memory")


@pytest.mark.parametrize(
    "code, said",
    [
        ("raise SystemExit('bye')", "cannot be imported (SystemExit: bye)"),
        ("import os; os._exit(7)", "its import ended the program (exit code 7)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "its import ended the program (exit code -4)"),
        ("print('ok'); print('h5py ok')", None),
    ],
)
def test_imports_that_do_more_than_fail(tmp_path, monkeypatch, code, said):
    (tmp_path / "h5py.py").write_text(code + "\n")
    monkeypatch.setattr(packages, "EVERY", {"numpy": "numpy", "h5py": "h5py", "tenacity": "tenacity"})
    before = set(packages.import_errors())
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    errors = packages.import_errors()
    assert set(errors) - before == ({"h5py"} if said else set())
    assert said is None or said.removeprefix("cannot be imported (").rstrip(")") in errors["h5py"] + ")"


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def test_self_test(device, precision):
    for result in self_test.self_test(ESM_8M, torch.device(device), precision):
        assert result.passed, result
        assert result.error > 0  # something was compared


def test_each_gpu_is_tested_as_the_current_one(monkeypatch):
    """Triton's kernels run on the current device, whatever their arguments lie on."""
    current = []
    monkeypatch.setattr("torch.cuda.device", lambda device: nullcontext(current.append(device)))
    monkeypatch.setattr(self_test, "_tested", lambda row, esm_model, device, *_: current[-1] == device)
    second = torch.device("cuda", 1)
    assert self_test.self_test(ESM_8M, second, "fp16") == [True, True] and current == [second]


@pytest.mark.parametrize("what", ["attention", "norm"])
def test_self_test_finds_wrong_arithmetic(monkeypatch, what):
    """An attention in which sequences see their neighbours; a LayerNorm that is a little off."""
    from virnucpro.models.ops import Plain

    class Off(Plain):
        @staticmethod
        def add_norm(x_TD, delta_TD, norm):
            x_TD, h_TD = Plain.add_norm(x_TD, delta_TD, norm)
            return x_TD, h_TD * 1.01

    def leaky(q, k, v, pack, slopes):
        merged = attention.Pack(pack.token_ids_T, pack.cu_seqlens_S1[[0, -1]], (sum(pack.lengths),))
        return attention.sdpa(q, k, v, pack if slopes is None else merged, slopes)

    if what == "attention":
        monkeypatch.setitem(attention.BACKENDS, "sdpa", attention.Backend("sdpa", lambda: leaky))
        expected = [True, False]
    else:
        monkeypatch.setattr(self_test, "choose_ops", lambda *_: (Off(), "off"))
        expected = [False, False]
    assert [result.passed for result in self_test.self_test(ESM_8M, CPU, "fp32")] == expected


def test_doctor_imports_nothing_that_may_be_broken():
    script = (
        "import sys, virnucpro.diagnostics.doctor; assert not {'torch', 'numpy', 'h5py', 'httpx2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
