from flare_cli.show.viewing.pace import SMALLEST, Pace

SECONDS = 1 / 15


def drawn(pace: Pace, whole: int, pictures: int, fixed: float, per_pixel: float) -> list[float]:
    """The seconds of moving pictures on a machine that takes so many seconds for each, and for each pixel."""
    taken = []
    for _ in range(pictures):
        rows = pace.height(whole)
        taken.append(fixed + per_pixel * rows**2)
        pace.took(taken[-1], whole)
    return taken


def test_a_slow_machine_is_soon_as_fast_as_it_should_be():
    pace = Pace(SECONDS)
    taken = drawn(pace, 1080, 20, 0.01, 1e-6)  # all 1080 rows would take 1.2 seconds
    assert max(taken[10:]) < 1.15 * SECONDS
    assert min(taken[10:]) > 0.85 * SECONDS


def test_a_fast_machine_draws_all():
    pace = Pace(SECONDS)
    drawn(pace, 1080, 20, 0.001, 1e-9)
    assert pace.height(1080) == 1080


def test_what_does_not_shrink_with_the_picture_ends_at_the_smallest():
    pace = Pace(SECONDS)
    drawn(pace, 1080, 20, 0.3, 1e-9)
    assert pace.height(1080) == SMALLEST


def test_a_small_window_is_never_enlarged():
    assert Pace(SECONDS).height(100) == 100
