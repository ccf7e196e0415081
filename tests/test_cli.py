"""The console command: one message for a user's mistake, quiet ends, and nothing imported before it is needed."""

import os
import subprocess
import sys
from importlib import import_module

import pytest

from nbcaffe import __version__, cli
from nbcaffe.errors import ConfigError, DeviceError


@pytest.fixture
def run_verb(monkeypatch):
    """Run ``nbcaffe train`` with this function in the place of training."""

    def run_verb(work, *options):
        monkeypatch.setattr(cli, "_target", lambda address: work)
        return cli.main(["train", "solver.yaml", *options])

    return run_verb


def mistake(args):
    raise ConfigError("a.yaml:8: layer 'ip1': num_output: expected an int and >= 1, got 0")


def test_a_mistake_is_one_message_on_stderr_and_exit_code_2(run_verb, capsys):
    assert run_verb(mistake) == 2
    assert capsys.readouterr() == ("", "a.yaml:8: layer 'ip1': num_output: expected an int and >= 1, got 0\n")


@pytest.mark.parametrize("argv", [["train", "x.yaml", "--traceback"], ["--traceback", "train", "x.yaml"]])
def test_traceback_shows_where_the_error_was_raised(monkeypatch, argv):
    monkeypatch.setattr(cli, "_target", lambda address: mistake)
    with pytest.raises(ConfigError):
        cli.main(argv)


def test_an_error_of_ours_is_not_hidden(run_verb):
    def bug(args):
        raise KeyError("conv1")

    with pytest.raises(KeyError):
        run_verb(bug)


def test_the_exit_code_is_the_verbs_own(run_verb):
    assert run_verb(lambda args: None) == 0
    assert run_verb(lambda args: 1) == 1


def test_ctrl_c_ends_quietly_with_130(run_verb, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    assert run_verb(interrupted) == 130
    assert capsys.readouterr() == ("", "")


def test_a_closed_pipe_ends_quietly():
    code = "from nbcaffe import cli; cli._target = lambda a: lambda args: print('row\\n' * 100000); cli.main(['docs'])"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.read(3)
    child.stdout.close()
    with child.stderr:
        assert child.stderr.read() == b""
    child.wait()


@pytest.mark.parametrize(
    "argv, complaint",
    [
        (["fly"], "invalid choice: 'fly'"),
        ([], "required: VERB"),
        (["train"], "required: solver"),
        (["train", "x.yaml", "--max-iter", "many"], "invalid int value: 'many'"),
    ],
)
def test_a_wrong_command_line_is_named(argv, complaint, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"nbcaffe {__version__}\n"


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_itself_and_leads_to_a_function(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([verb, "--help"])
    assert stop.value.code == 0
    assert "usage: nbcaffe " + verb in capsys.readouterr().out
    assert callable(cli._target(cli.VERBS[verb][2]))


def test_the_simulator_is_the_cuda_device_with_the_simulator_switched_on(run_verb, monkeypatch):
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "0")
    seen = []

    def note(args):
        seen.append((args.device, os.environ["NUMBA_ENABLE_CUDASIM"]))

    run_verb(note, "--device", "cuda")
    run_verb(note, "--device", "sim")
    assert seen == [("cuda", "0"), ("cuda", "1")]


def test_the_simulator_can_be_chosen_after_numba_was_imported():
    code = (
        "import os, numba; os.environ.pop('NUMBA_ENABLE_CUDASIM', None)\n"
        "from nbcaffe import cli; cli._target = lambda address: lambda args: None\n"
        "cli.main(['train', 'x.yaml', '--device', 'sim'])\n"
        "from numba import cuda; print('simulator' in cuda.jit.__module__ or cuda.jit.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_the_simulator_is_refused_once_the_real_target_is_loaded(monkeypatch):
    import numba

    monkeypatch.setitem(sys.modules, "numba.cuda", import_module("types").ModuleType("numba.cuda"))
    monkeypatch.setattr(numba.config, "ENABLE_CUDASIM", 0)
    with pytest.raises(DeviceError, match="new process"):
        cli._choose_device(cli._parser().parse_args(["show", "x.yaml"]).__class__(device="sim"))


@pytest.mark.parametrize("other", [["--weights", "b"], ["--reinit", "ip2"]])
def test_a_run_goes_on_from_a_snapshot_or_starts_from_weights_but_not_both(other, capsys):
    assert cli.main(["train", "x.yaml", "--resume", "a", *other]) == 2
    assert "a snapshot to resume training or weights to finetune, but not both" in capsys.readouterr().err
