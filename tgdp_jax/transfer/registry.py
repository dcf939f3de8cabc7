"""The transfer methods with their cards: a method is its file and one entry here. Their order is that of tables.

Looking names up, and showing cards, imports no method.
"""

from collections.abc import Iterable

from tgdp_jax.errors import choose
from tgdp_jax.runtime.lazy import late
from tgdp_jax.transfer.cards import Card, TransferMethod

ALL = "all"
_REFERENCE = "reference without a network"

METHODS: dict[str, TransferMethod] = {
    "tgdp": TransferMethod(
        "tgdp",
        Card(
            summary="source score plus the gradient of a learned log density ratio on noised data",
            family="guidance by density ratio",
            originators="Yidong Ouyang, Liyan Xie, Hongyuan Zha, Guang Cheng",
            paper="Transfer Learning for Diffusion Models, NeurIPS 2024",
            year=2024,
            aliases=("transfer guided diffusion process",),
            trains="a domain classifier on clean rows, then a guidance network on noised ones",
            source_model="score",
            source_rows=True,
            fails="little overlap: where no source row lies, there is nothing to reweight",
        ),
        ("source", "head", "classifier", "guidance"),
        late("tgdp_jax.transfer.tgdp:stages"),
        late("tgdp_jax.transfer.tgdp:generator"),
        captions=True,
    ),
    "tgdp_denoising": TransferMethod(
        "tgdp_denoising",
        Card(
            summary="adapters trained on target rows and on source rows drawn in proportion to the learned ratio",
            family="guidance by density ratio",
            originators="Yidong Ouyang, Liyan Xie, Hongyuan Zha, Guang Cheng (the theorem)",
            paper="Transfer Learning for Diffusion Models, NeurIPS 2024",
            year=2024,
            aliases=("TGDP as denoising", "ratio-weighted adapters"),
            trains="a domain classifier on clean rows, then two thin matrices beside every kernel",
            source_model="weights",
            source_rows=True,
            fails="little overlap: a handful of source rows is shown again and again",
        ),
        ("source", "head", "classifier", "rival", "lora", "tgdp_denoising"),
        late("tgdp_jax.transfer.tgdp_denoising:stages"),
        late("tgdp_jax.transfer.tgdp_denoising:generator"),
        captions=True,
    ),
    "stacked": TransferMethod(
        "stacked",
        Card(
            summary="adapters, a new token and ratio-weighted adapters combined, each weighed by held-out target rows",
            family="fine-tuning of few parameters",
            originators="Leo Breiman (stacking)",
            paper="Stacked Regressions, Machine Learning 24, 1996",
            year=1996,
            aliases=("stacking", "stacked transfer"),
            trains="adapters, a token, a domain classifier, adapters again, and "
            "the weight of each at every noise level",
            source_model="weights",
            source_rows=True,
            fails="a target that no member can make; it takes the time of all of them",
        ),
        ("source", "head", "classifier", "rival", "lora", "textual_inversion", "tgdp_denoising", "stacked"),
        late("tgdp_jax.transfer.stacked:stages"),
        late("tgdp_jax.transfer.stacked:generator"),
        captions=True,
    ),
    "discriminator_guidance": TransferMethod(
        "discriminator_guidance",
        Card(
            summary="source score plus the gradient of a noise-conditional domain classifier's logit",
            family="guidance by density ratio",
            originators="Dongjun Kim, Yeongmin Kim, Se Jung Kwon, Wanmo Kang, Il-Chul Moon",
            paper="Refining Generative Process with Discriminator Guidance in Score-based Diffusion Models, ICML 2023",
            year=2023,
            aliases=("DG",),
            trains="a domain classifier on noised rows",
            source_model="score",
            source_rows=True,
            fails="few target rows, which the classifier learns by heart; little overlap",
        ),
        ("source", "head", "guidance"),
        late("tgdp_jax.transfer.discriminator_guidance:stages"),
        late("tgdp_jax.transfer.discriminator_guidance:generator"),
        captions=True,
    ),
    "finetune": TransferMethod(
        "finetune",
        Card(
            summary="all weights of the source model trained on the target rows, step count cross-validated",
            family="fine-tuning",
            originators="common practice; studied by Jason Yosinski, Jeff Clune, Yoshua Bengio, Hod Lipson",
            paper="How transferable are features in deep neural networks?, NeurIPS 2014",
            year=2014,
            aliases=("fine-tuning", "full fine-tuning"),
            trains="all weights of the source model",
            source_model="weights",
            source_rows=False,
            fails="few target rows: it memorises them and forgets what the source knew, unless stopped early",
        ),
        ("source", "rival"),
        late("tgdp_jax.transfer.finetune:stages"),
        late("tgdp_jax.transfer.finetune:generator"),
        captions=True,
    ),
    "lora": TransferMethod(
        "lora",
        Card(
            summary="low-rank changes to the source's kernels trained on the target rows, step count cross-validated",
            family="fine-tuning of few parameters",
            originators="Edward Hu, Yelong Shen, Phillip Wallis, Zeyuan Allen-Zhu and others",
            paper="LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022",
            year=2022,
            aliases=("low-rank adaptation", "low-rank adapters"),
            trains="two thin matrices beside every kernel",
            source_model="weights",
            source_rows=False,
            fails="a target that differs from the source by more than a change of low rank",
        ),
        ("source", "rival", "lora"),
        late("tgdp_jax.transfer.lora:stages"),
        late("tgdp_jax.transfer.lora:generator"),
        captions=True,
    ),
    "dreambooth": TransferMethod(
        "dreambooth",
        Card(
            summary="fine-tuning under a new token while the source's own samples, without it, are kept",
            family="fine-tuning",
            originators="Nataniel Ruiz, Yuanzhen Li, Varun Jampani, Yael Pritch, Michael Rubinstein, Kfir Aberman",
            paper="DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation, CVPR 2023",
            year=2023,
            aliases=("prior preservation",),
            trains="all weights of the source model (or adapters) and the embedding of a new token",
            source_model="weights",
            source_rows=False,
            fails="few target rows, as fine-tuning does: what is kept of the source does not show under the token",
        ),
        ("source", "rival", "dreambooth", "lora"),
        late("tgdp_jax.transfer.dreambooth:stages"),
        late("tgdp_jax.transfer.dreambooth:generator"),
        captions=True,
    ),
    "textual_inversion": TransferMethod(
        "textual_inversion",
        Card(
            summary="the source model conditioned on one new token, whose embedding is the only thing trained",
            family="fine-tuning of few parameters",
            originators="Rinon Gal, Yuval Alaluf, Yuval Atzmon, Or Patashnik, Amit Bermano, "
            "Gal Chechik, Daniel Cohen-Or",
            paper="An Image is Worth One Word: Personalizing Text-to-Image Generation using "
            "Textual Inversion, ICLR 2023",
            year=2023,
            aliases=("embedding inversion",),
            trains="the embedding of a new token",
            source_model="weights",
            source_rows=False,
            fails="a target that the source model can not make whatever it is conditioned on",
        ),
        ("source", "rival", "textual_inversion"),
        late("tgdp_jax.transfer.textual_inversion:stages"),
        late("tgdp_jax.transfer.textual_inversion:generator"),
        captions=True,
    ),
    "domain_guidance": TransferMethod(
        "domain_guidance",
        Card(
            summary="source score plus more than the whole difference that fine-tuning made to it",
            family="fine-tuning with guidance",
            originators="Jincheng Zhong, Xiangcheng Zhang, Jianmin Wang, Mingsheng Long",
            paper="Domain Guidance: A Simple Transfer Approach for a Pre-trained Diffusion Model, ICLR 2025",
            year=2025,
            trains="all weights of the source model, as fine-tuning does",
            source_model="weights",
            source_rows=False,
            fails="a fine-tuned model that is right already: pushing it further leaves the target",
        ),
        ("source", "rival", "domain_guidance"),
        late("tgdp_jax.transfer.domain_guidance:stages"),
        late("tgdp_jax.transfer.domain_guidance:generator"),
        captions=True,
    ),
    "self_supervised": TransferMethod(
        "self_supervised",
        Card(
            summary="a source model that also learned a label-free representation, fine-tuned on the target rows",
            family="fine-tuning",
            originators="Ting Chen and others (contrastive); Kaiming He and others, Hongkai Zheng and others (masked)",
            paper="Fast Training of Diffusion Models with Masked Transformers, TMLR 2024",
            year=2024,
            aliases=("self-supervised diffusion", "SSL"),
            trains="all weights of a source model that was trained with contrasted views "
            "or hidden parts beside denoising",
            source_model="weights",
            source_rows=False,
            fails="a source model that can not be trained anew; elsewhere as fine-tuning does",
        ),
        ("source", "rival", "representation"),
        late("tgdp_jax.transfer.self_supervised:stages"),
        late("tgdp_jax.transfer.self_supervised:generator"),
    ),
    "scratch": TransferMethod(
        "scratch",
        Card(
            summary="a new diffusion model on the target rows alone, step count cross-validated",
            family="no transfer",
            originators="Jascha Sohl-Dickstein, Eric Weiss, Niru Maheswaranathan, Surya Ganguli (diffusion models)",
            paper="Deep Unsupervised Learning using Nonequilibrium Thermodynamics, ICML 2015",
            year=2015,
            aliases=("from scratch", "vanilla"),
            trains="all weights of a new model",
            source_model="nothing",
            source_rows=False,
            fails="few target rows, the more so the more dimensions",
        ),
        ("source", "rival"),
        late("tgdp_jax.transfer.scratch:stages"),
        late("tgdp_jax.transfer.scratch:generator"),
    ),
    "source": TransferMethod(
        "source",
        Card(
            summary="the source model as it is: no transfer",
            family="no transfer",
            aliases=("no transfer", "source only"),
            trains="nothing",
            source_model="score",
            source_rows=False,
            fails="any difference between source and target",
        ),
        ("source",),
        late("tgdp_jax.transfer.source:stages"),
        late("tgdp_jax.transfer.source:generator"),
        captions=True,
    ),
    "gan": TransferMethod(
        "gan",
        Card(
            summary="generator and discriminator of a GAN trained on the source, both trained on with the target rows",
            family="adversarial",
            originators="Yaxing Wang, Chenshen Wu, Luis Herranz, Joost van de Weijer and others",
            paper="Transferring GANs: generating images from limited data, ECCV 2018",
            year=2018,
            aliases=("TransferGAN", "GAN transfer"),
            trains="generator and discriminator, or the discriminator's later layers alone (FreezeD)",
            source_model="weights",
            source_rows=False,
            fails="few target rows: the discriminator learns them by heart, and the generator collapses onto them",
        ),
        ("gan",),
        late("tgdp_jax.transfer.gan:stages"),
        late("tgdp_jax.transfer.gan:generator"),
    ),
    "multimodal": TransferMethod(
        "multimodal",
        Card(
            summary="one diffusion model of all modalities of a row, each with its own time, "
            "fine-tuned on the target rows",
            family="multimodal diffusion",
            originators="Fan Bao, Shen Nie, Kaiwen Xue, Chongxuan Li, Shi Pu and others",
            paper="One Transformer Fits All Distributions in Multi-Modal Diffusion at Scale, ICML 2023",
            year=2023,
            aliases=("UniDiffuser", "multimodal diffusion"),
            trains="all weights of the source model",
            source_model="weights",
            source_rows=False,
            fails="few target rows, as fine-tuning does; and where only the joint is asked for, which other "
            "networks know better",
        ),
        ("source", "rival"),
        late("tgdp_jax.transfer.multimodal:stages"),
        late("tgdp_jax.transfer.multimodal:generator"),
    ),
    "kde": TransferMethod(
        "kde",
        Card(
            summary="reference without a network: kernel density estimate of the target rows, leave-one-out bandwidth",
            family=_REFERENCE,
            originators="Murray Rosenblatt; Emanuel Parzen (1962)",
            paper="Remarks on Some Nonparametric Estimates of a Density Function, "
            "Annals of Mathematical Statistics 1956",
            year=1956,
            aliases=("kernel density estimate", "Parzen window"),
            trains="one bandwidth",
            source_model="nothing",
            source_rows=False,
            fails="many dimensions: kernels wide enough to fill the gaps blur the target",
        ),
        (),
        late("tgdp_jax.transfer.kde:stages"),
        late("tgdp_jax.transfer.kde:generator"),
        draws_rows=True,
    ),
    "sir": TransferMethod(
        "sir",
        Card(
            summary="reference without a network: source rows resampled by their learned ratio",
            family=_REFERENCE,
            originators="Donald B. Rubin",
            paper="Using the SIR Algorithm to Simulate Posterior Distributions, Bayesian Statistics 3, 1988",
            year=1988,
            aliases=("sampling importance resampling",),
            trains="a domain classifier on clean rows",
            source_model="nothing",
            source_rows=True,
            fails="little overlap: a handful of source rows is drawn again and again, and no new point is made",
        ),
        ("head", "classifier"),
        late("tgdp_jax.transfer.sir:stages"),
        late("tgdp_jax.transfer.sir:generator"),
        draws_rows=True,
    ),
}


def method_name(name: str) -> str:
    """The registry's name of a method that is given by name or alias, in any case, with or without hyphens and blanks.

    Raises:
      UserError: there is no such method.
    """
    wanted = _bare(name)
    for known, method in METHODS.items():
        if wanted in {_bare(text) for text in (known, *method.card.aliases)}:
            return known
    choose("method", name, METHODS)
    return name


def method_names(names: Iterable[str]) -> tuple[str, ...]:
    """The registry's names of methods given by name or alias, each once, in order; "all" stands for every one.

    Raises:
      UserError: there is no such method.
    """
    found = [known for name in names for known in (METHODS if _bare(name) == ALL else (method_name(name),))]
    return tuple(dict.fromkeys(found))


def _bare(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
