import pytest

from edgewright.base.errors import UserError

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers.models.mobilevit.modeling_mobilevit import (  # noqa: E402
    MobileViTSelfAttention,
)

from edgewright.model.train.architectures import full_name  # noqa: E402
from edgewright.model.train.mobilevit import Attention, MobileViT  # noqa: E402

pytestmark = pytest.mark.model


@pytest.mark.parametrize(
    ("arch", "parameters"), [("s", 4_938_000), ("xs", 1_934_000), ("xxs", 951_000)]
)
def test_sizes_are_those_of_the_paper_without_its_thousand_classes(
    arch: str, parameters: int
) -> None:
    found = sum(p.numel() for p in MobileViT(arch).body.parameters())
    assert found == pytest.approx(parameters, rel=0.002)


def test_short_and_full_names_are_the_same() -> None:
    assert full_name("xxs") == full_name("mobilevit-xxs") == "mobilevit-xxs"
    with pytest.raises(UserError, match="architecture 'resnet': is not known"):
        full_name("resnet")


def test_signals_reach_the_head_at_the_start() -> None:
    torch.manual_seed(0)
    network = MobileViT().train()
    assert network.body.mobilevit(torch.randn(4, 1, 64, 64)).pooler_output.std() > 0.01


def test_the_fused_attention_says_what_the_plain_one_says() -> None:
    torch.manual_seed(0)
    network = MobileViT("xxs")
    config = network.body.config
    plain = MobileViTSelfAttention(config, config.hidden_sizes[0]).eval()
    patches = torch.randn(3, 10, config.hidden_sizes[0])
    torch.testing.assert_close(Attention(plain)(patches), plain(patches))
