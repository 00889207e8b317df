import pytest
import torch

from flare_cli.fit.feed import BatchFeed
from flare_cli.fit.frames import Pictures

FRAMES, HEIGHT, WIDTH = 7, 3, 5


@pytest.fixture
def pictures() -> Pictures:
    """Every byte tells its frame apart."""
    number = torch.arange(FRAMES, dtype=torch.uint8)[:, None, None].expand(FRAMES, HEIGHT, WIDTH)
    colour = torch.stack([number, number + 50, number + 100], -1)
    return Pictures(image=colour.contiguous(), mask=(number + 150).contiguous(), label=(number + 200).contiguous())


def schedule(steps: int, batch: int) -> torch.Tensor:
    return torch.randint(FRAMES, (steps, batch), generator=torch.Generator().manual_seed(3))


def check(feed: BatchFeed, pictures: Pictures, chosen: torch.Tensor, start: int, until: int, device="cpu") -> None:
    at = torch.tensor([start], device=device)
    for step in range(start, until):
        with feed.reading(step):
            batch = feed.batch(at)
        at += 1
        assert torch.equal(batch.image.cpu(), pictures.image[chosen[step]])
        assert torch.equal(batch.mask.cpu(), pictures.mask[chosen[step]])
        assert torch.equal(batch.label.cpu(), pictures.label[chosen[step]])


@pytest.mark.parametrize("slots", [1, 2, 3, 50])
def test_every_step_sees_the_pictures_that_its_schedule_names(pictures, slots: int):
    chosen = schedule(20, 4)
    check(BatchFeed(pictures, chosen, torch.device("cpu"), slots), pictures, chosen, 0, 20)


def test_a_fit_may_start_anywhere_and_jump(pictures):
    chosen = schedule(20, 2)
    feed = BatchFeed(pictures, chosen, torch.device("cpu"), 4)
    check(feed, pictures, chosen, 7, 12)
    check(feed, pictures, chosen, 12, 15)
    check(feed, pictures, chosen, 2, 20)


def test_memory_on_the_device_does_not_grow_with_the_recording(pictures):
    few = BatchFeed(pictures, schedule(20, 2), torch.device("cpu"), 4)
    twice = Pictures(
        image=pictures.image.repeat(2, 1, 1, 1),
        mask=pictures.mask.repeat(2, 1, 1),
        label=pictures.label.repeat(2, 1, 1),
    )
    many = BatchFeed(twice, schedule(20, 2), torch.device("cpu"), 4)
    assert few.bytes_on_device == many.bytes_on_device == 4 * 2 * HEIGHT * WIDTH * 5


@pytest.mark.gpu
@pytest.mark.parametrize("slots", [1, 3, 8])
def test_a_captured_step_reads_the_right_pictures_without_waiting(slots: int):
    """Replays are slow (a long product first) and launched in one go: batches must neither be late nor overwritten."""
    device = torch.device("cuda")
    steps, batch, size = 60, 4, 256
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> torch.Tensor:
        return torch.randint(256, shape, generator=generator, dtype=torch.uint8)

    pictures = Pictures(image=random(9, size, size, 3), mask=random(9, size, size), label=random(9, size, size))
    chosen = torch.randint(9, (steps, batch), generator=generator)
    feed = BatchFeed(pictures, chosen, device, slots)
    at = torch.zeros(1, dtype=torch.long, device=device)
    slow = torch.randn(3000, 3000, device=device)
    sums = torch.zeros(steps, 3, dtype=torch.long, device=device)
    stream = torch.cuda.Stream()

    def work() -> None:
        torch.mm(slow, slow)
        seen = feed.batch(at)
        torch.mm(slow, slow)
        row = [seen.image.long().sum(), (seen.mask.long() * 7).sum(), (seen.label.long() * 3).sum()]
        sums.index_copy_(0, at, torch.stack(row)[None])
        at.add_(1)

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        stream.wait_stream(torch.cuda.default_stream())
        with feed.reading(0):
            work()
        stream.synchronize()
        with feed.reading(1):
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                work()
            graph.replay()
        for step in range(2, steps):
            with feed.reading(step):
                graph.replay()
    torch.cuda.synchronize()
    picked = [(pictures.image, 1), (pictures.mask, 7), (pictures.label, 3)]
    expected = [[int(t[row].long().sum()) * k for t, k in picked] for row in chosen]
    assert sums.tolist() == expected
