"""What every figure keeps: shares end at 0 and 100, and figures of training fit a card of TensorBoard."""

CARD = 5.8  # inches; a card shows 400 to 600 pixels, so wider figures have letters that nobody can read


def assert_shares_end_at_0_and_100(figure):
    """Assert that no axis of shares goes below 0 or above 100 %, and that at least one is whole where lines are."""
    for axes in figure.axes:
        for label, limits in ((axes.get_xlabel(), axes.get_xlim()), (axes.get_ylabel(), axes.get_ylim())):
            if label.rstrip().endswith("(%)"):
                assert min(limits) >= 0, label
                assert max(limits) <= 100, label


def assert_fits_a_card(figure):
    """Assert that a figure is no wider than a card."""
    assert figure.get_figwidth() <= CARD
