from kdbias.probes.base import Result
from kdbias.report.panels import mean, trace


def found(value: float, error: float) -> Result:
    return Result("hessian", {"trace": value, "trace_se": error}, {}, {})


def test_numbers_have_their_significant_digits_and_no_exponent():
    assert trace([found(957.2, 131.4)]) == "957 ± 130"
    assert trace([found(12345.6, 30.0), found(12345.6, 40.0)]) == "12300 ± 25"  # √(30² + 40²) / 2
    assert trace([]) == "-"


def test_a_mean_over_seeds_has_their_deviation():
    runs = [found(1000.0, 1.0), found(1300.0, 1.0)]
    assert mean(runs, "trace") == "1150 ± 210"
    assert mean(runs, "trace", digits=1) == "1150.0 ± 212.1"
    assert mean(runs[:1], "trace_se") == "1"
    assert mean(runs, "distance") == "-"
