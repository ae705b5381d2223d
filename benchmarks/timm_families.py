"""Families of timm: what converts, where the others stop, and how exact it is."""

import time
import warnings
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Table
from benchmarks.networks import Options
from cnn2snn_brian import UnsupportedModuleError, from_torch

__all__ = ["timm_families"]

#: One network of each family that has ReLU, or had it in its paper.
_NAMES = """
resnet10t resnet18d resnet26t resnext50_32x4d wide_resnet50_2 resnet50_gn
resnetblur18 resnetaa34d seresnet18 ecaresnet26t resnetrs50 legacy_seresnet18
legacy_seresnext26_32x4d resnetv2_18 resnetv2_50x1_bit regnety_002 regnetz_005
repvgg_a0 mobileone_s0 gernet_s resnet51q eca_resnext26ts gcresnext26ts vgg11_bn
densenet121 densenetblur121d dla34 dla46_c dla60_res2net hrnet_w18_small
legacy_xception xception41 inception_v3 inception_v4 inception_resnet_v2
darknet17 darknet53 cspresnet50 cspdarknet53 cspresnext50 cs3darknet_s dpn48b
dpn68 selecsls42 vovnet39a ese_vovnet19b_slim ghostnet_050 ghostnetv2_100
mobilenetv1_100 mobilenetv2_100 mobilenetv3_small_050
tf_mobilenetv3_small_minimal_100 mobilenetv4_conv_small_035 efficientnet_lite0
tf_efficientnet_lite0 efficientnet_es mobilenet_edgetpu_100
mobilenet_edgetpu_v2_xs mnasnet_050 mnasnet_small semnasnet_050 spnasnet_100
fbnetc_100 hardcorenas_a mixnet_s tinynet_e lcnet_035 rexnetr_100 rexnet_100
efficientnet_b0 tf_efficientnetv2_b0 res2net50_14w_8s res2next50 resnest14d
skresnet18 tresnet_m tresnet_v2_l nf_resnet26 nf_regnet_b0 nfnet_l0 hgnet_tiny
hgnetv2_b0 repghostnet_050 fasternet_t0 lcnetv2_small repvit_m0_9 starnet_s050
convmixer_768_32 convnext_atto cspnext_tiny pnasnet5large
"""
NAMES = _NAMES.split()
#: Sizes of images; a network that does not compute the first gets the second.
SIZES = 64, 96


def _calibrated(cnn: torch.nn.Module, size: int) -> torch.nn.Module:
    """Give BatchNorms the statistics of noise: else signals fade away in deep nets."""
    norms = [one for one in cnn.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        cnn.train()(torch.rand(4, 3, size, size))
    return cnn.eval()


def _difference(network: Any, cnn: torch.nn.Module, size: int) -> float:
    """Largest difference from the CNN for another image, of its largest output."""
    pixels = np.random.default_rng(1).random((1, 3, size, size))
    *_, (_, _, found) = network.computed(pixels)
    with torch.no_grad():
        expected = cnn.double()(torch.from_numpy(pixels)).numpy()
    return float(
        np.abs(found.ravel() - expected.ravel()).max() / np.abs(expected).max()
    )


def _tried(name: str, cnn: torch.nn.Module) -> dict[str, Any]:
    """Read a network: a row of the table."""
    start = time.perf_counter()
    for size in SIZES:
        try:
            network = from_torch(
                _calibrated(cnn, size), (3, size, size), max_pooling="gate"
            )
        except UnsupportedModuleError as error:
            place, reason = str(error).split(": ", 1)
            reason = reason.split(". ")[0]
            return {"network": name, "refused at": place, "because": reason[:90]}
        except RuntimeError as error:  # it does not compute images of this size
            reason = str(error)
            continue
        return {
            "network": name,
            "size": size,
            "populations": len(network),
            "ON and OFF": len(network.pairs),
            "synapses": network.n_synapses,
            "difference": f"{_difference(network, cnn, size):.0e}",
            "read in s": time.perf_counter() - start,
        }
    return {"network": name, "refused at": "forward", "because": reason[:90]}


def timm_families(options: Options) -> list[Table]:
    """
    Read networks of timm with random weights.

    timm is not among the packages that benchmarks need:
    ``pip install timm``.

    Parameters
    ----------
    options : Options
        Not used.

    Returns
    -------
    list of Table
        One.
    """
    import timm

    table = Table("timm", f"timm {timm.__version__}, random weights, 64 x 64 pixels")
    for name in NAMES:
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table.rows.append(_tried(name, timm.create_model(name).eval()))
    n = sum("difference" in row for row in table.rows)
    table.notes = [
        f"{n} of {len(NAMES)} convert, with max_pooling='gate'.",
        "Difference of the analog network from the CNN in float64, of its largest "
        "output, for an image that reading has not seen.",
    ]
    return [table]
