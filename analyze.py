"""python analyze.py task=evaluate runs=[RUN_DIR]: evaluate, probe and report."""

from kdbias.start import analyze

if __name__ == "__main__":
    analyze()
