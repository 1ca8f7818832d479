import torch

from app.training.adam import Adam


def test_moves_a_table_as_torchs_own_class_does() -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(101, 7, generator=generator)
    expected = table.clone().requires_grad_()
    ours, theirs = Adam(table, 37), torch.optim.Adam([expected], fused=True)
    for rate in (0.1, 0.05, 0.01):
        gradient = torch.randn(101, 7, generator=generator)
        ours.step(gradient, rate)
        theirs.param_groups[0]["lr"], expected.grad = rate, gradient
        theirs.step()
    torch.testing.assert_close(table, expected.detach(), rtol=0, atol=1e-6)


def test_goes_on_from_what_was_kept() -> None:
    gradients = torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(1))
    table = torch.zeros(9, 3)
    whole = Adam(table, 4)
    for gradient in gradients[:2]:
        whole.step(gradient, 0.1)
    other = table.clone()
    continued = Adam(other, 4)
    continued.restore(whole.moments, 2)
    for gradient in gradients[2:]:
        whole.step(gradient, 0.1)
        continued.step(gradient, 0.1)
    assert torch.equal(table, other)
