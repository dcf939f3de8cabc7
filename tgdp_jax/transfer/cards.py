"""What every method is, as data: cards that the command line and reports show, one or several side by side.

The numbers of a run (parameters trained, seconds, memory) are no part of a card: reports put them beside it.
"""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """What a method is. All texts are plain ASCII, for every terminal; none ends in a full stop.

    Attributes:
      summary: one line on what it does.
      family: the idea that it shares with its relatives.
      originators: who proposed it, or who made it known; None where nobody in particular did.
      paper: title and venue of the founding paper; None where there is none.
      year: of the founding paper.
      aliases: other names of the field; the command line takes them too.
      trains: what is learned from the target rows.
      source_model: what it needs of the pretrained model: nothing, its score as a function, or its weights.
      source_rows: whether it needs rows of the source beside the pretrained model.
      labels: of the target rows: no use for them, optional (conditional problems), or required.
      fails: when not to use it.
    """

    summary: str
    family: str
    originators: str | None = None
    paper: str | None = None
    year: int | None = None
    aliases: tuple[str, ...] = ()
    trains: str
    source_model: Literal["nothing", "score", "weights"]
    source_rows: bool
    labels: Literal["unused", "optional", "required"] = "optional"
    fails: str

    def facts(self) -> dict[str, str]:
        """The card as heading to text, for display."""
        return {
            "summary": self.summary,
            "family": self.family,
            "originators": self.originators or "-",
            "founding paper": self.paper or "-",
            "year": "-" if self.year is None else str(self.year),
            "also called": ", ".join(self.aliases) or "-",
            "trains": self.trains,
            "needs of the source model": self.source_model,
            "needs source rows": "yes" if self.source_rows else "no",
            "target labels": self.labels,
            "fails with": self.fails,
        }


_REFERENCE = "reference without a network"

CARDS: dict[str, Card] = {
    "tgdp": Card(
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
    "discriminator_guidance": Card(
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
    "finetune": Card(
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
    "lora": Card(
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
    "dreambooth": Card(
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
    "textual_inversion": Card(
        summary="the source model told of the target by the embedding of one new token, the only thing trained",
        family="fine-tuning of few parameters",
        originators="Rinon Gal, Yuval Alaluf, Yuval Atzmon, Or Patashnik, Amit Bermano, Gal Chechik, Daniel Cohen-Or",
        paper="An Image is Worth One Word: Personalizing Text-to-Image Generation using Textual Inversion, ICLR 2023",
        year=2023,
        aliases=("embedding inversion",),
        trains="the embedding of a new token",
        source_model="weights",
        source_rows=False,
        fails="a target that the source model can not make whatever it is told",
    ),
    "domain_guidance": Card(
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
    "self_supervised": Card(
        summary="a source model that also learned a label-free representation, fine-tuned on the target rows",
        family="fine-tuning",
        originators="Ting Chen and others (contrastive); Kaiming He and others, Hongkai Zheng and others (masked)",
        paper="Fast Training of Diffusion Models with Masked Transformers, TMLR 2024",
        year=2024,
        aliases=("self-supervised diffusion", "SSL"),
        trains="all weights of a source model that was trained with contrasted views or hidden parts beside denoising",
        source_model="weights",
        source_rows=False,
        fails="a source model that can not be trained anew; elsewhere as fine-tuning does",
    ),
    "scratch": Card(
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
    "source": Card(
        summary="the source model as it is: no transfer",
        family="no transfer",
        aliases=("no transfer", "source only"),
        trains="nothing",
        source_model="score",
        source_rows=False,
        fails="any difference between source and target",
    ),
    "gan": Card(
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
    "multimodal": Card(
        summary="one diffusion model of all modalities of a row, each with its own time, fine-tuned on the target rows",
        family="multimodal diffusion",
        originators="Fan Bao, Shen Nie, Kaiwen Xue, Chongxuan Li, Shi Pu and others",
        paper="One Transformer Fits All Distributions in Multi-Modal Diffusion at Scale, ICML 2023",
        year=2023,
        aliases=("UniDiffuser", "multimodal diffusion"),
        trains="all weights of the source model",
        source_model="weights",
        source_rows=False,
        fails="few target rows, as fine-tuning does; and where only the joint is asked for, which other networks know "
        "better",
    ),
    "kde": Card(
        summary="reference without a network: kernel density estimate of the target rows, leave-one-out bandwidth",
        family=_REFERENCE,
        originators="Murray Rosenblatt; Emanuel Parzen (1962)",
        paper="Remarks on Some Nonparametric Estimates of a Density Function, Annals of Mathematical Statistics 1956",
        year=1956,
        aliases=("kernel density estimate", "Parzen window"),
        trains="one bandwidth",
        source_model="nothing",
        source_rows=False,
        fails="many dimensions: kernels wide enough to fill the gaps blur the target",
    ),
    "sir": Card(
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
}
