"""``import kdbias``: light, and its public names are there."""

import subprocess
import sys


def test_public_names_come_when_asked_for_and_no_torch_before():
    code = (
        "import sys, kdbias\n"
        "print('torch' in sys.modules)\n"
        "print(kdbias.functional.soft_kl.__name__, kdbias.stats.retention.__name__)\n"
        "print(all(hasattr(kdbias, name) for name in kdbias.__all__), hasattr(kdbias, 'nothing'))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "soft_kl", "retention", "True", "False"]
