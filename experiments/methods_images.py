# ruff: noqa: E501  (the tables)
"""Every transfer method on images: which method for which number of target images, and for which shift?

    python -m experiments.methods_images digits                        bundled digits, strokes a pixel wider
    python -m experiments.methods_images digits --shift classes        ... the digits 5 to 9, from 0 to 4
    python -m experiments.methods_images mnist-usps --data-dir DATA    another hand and pen
    ... --size tiny     in minutes, to see that it works
    ... --seeds 1       a third of the time

n = 10, 50, 200; one source model for all seeds. DATA and settings of mnist-usps are those of `experiments.images`, the
settings of digits those of the command line. Each study goes on where it was cut off; results go to runs/ (--out), with
a page that ranks the methods and says what the numbers recommend.

mnist-usps, mean and standard deviation of seeds, one source model, measured with jax 0.10.2, one of two CPU cores a process;
500 samples, features of a classifier of the source's digits; standard errors of a seed's Frechet distance 2.3 to 4.8.
Classifiers and guidance stand on the source's features (`--head.on source`). Seconds to train with 50 images on seed 0, the
source's 600 included: tgdp 1117, dreambooth 811, finetune 727, textual_inversion 707, lora 706; gan 354, scratch 221;
self_supervised 1883, 1840 of them for a source of its own, multimodal 432, of them 327. Training and sampling of all took five hours
of one core.

         n  method                          Frechet           prec.          recall           dens.          cover.            C2ST          memor.   seeds    trained
        10  tgdp                        52.2 +- 2.3    0.50 +- 0.04    0.90 +- 0.03    0.20 +- 0.01  0.045 +- 0.003    0.80 +- 0.02    1.04 +- 0.17       3    1077908
        10  discriminator_guidance      51.6 +- 1.9    0.47 +- 0.03    0.90 +- 0.02    0.18 +- 0.02  0.042 +- 0.003    0.81 +- 0.02    1.06 +- 0.13       3     319236
        10  finetune                   65.3 +- 23.5    0.50 +- 0.01    0.92 +- 0.06    0.20 +- 0.01  0.045 +- 0.005    0.80 +- 0.04    0.97 +- 0.13       3    1333969
        10  lora                        51.4 +- 8.7    0.47 +- 0.02    0.96 +- 0.01    0.18 +- 0.02  0.044 +- 0.004    0.77 +- 0.02    1.00 +- 0.17       3      87285
        10  dreambooth                  55.7 +- 2.3    0.50 +- 0.05    0.93 +- 0.02    0.20 +- 0.02  0.046 +- 0.003    0.79 +- 0.02    1.00 +- 0.12       3    1334033
        10  textual_inversion           58.0 +- 1.5    0.47 +- 0.02    0.89 +- 0.03    0.18 +- 0.01  0.042 +- 0.002    0.81 +- 0.01    1.08 +- 0.13       3         64
        10  domain_guidance            68.9 +- 25.0    0.50 +- 0.02    0.91 +- 0.08    0.20 +- 0.01  0.043 +- 0.005    0.80 +- 0.05    0.97 +- 0.13       3    1333969
        10  self_supervised             55.1 +- 6.6    0.47 +- 0.05    0.94 +- 0.02    0.19 +- 0.02  0.045 +- 0.003    0.78 +- 0.03    0.97 +- 0.15       3    1333969
        10  multimodal                104.6 +- 12.2    0.52 +- 0.03    0.82 +- 0.03    0.20 +- 0.01  0.037 +- 0.005    0.85 +- 0.04    0.92 +- 0.16       3    1563522
        10  gan                        72.0 +- 13.8    0.51 +- 0.04    0.72 +- 0.10    0.19 +- 0.02  0.036 +- 0.002    0.86 +- 0.03    0.99 +- 0.20       3     112370
        10  scratch                   164.1 +- 26.7    0.50 +- 0.03    0.17 +- 0.11    0.17 +- 0.02  0.019 +- 0.004    0.98 +- 0.01    0.94 +- 0.16       3    1333969
        10  source                      57.5 +- 1.0    0.46 +- 0.03    0.88 +- 0.03    0.18 +- 0.01  0.041 +- 0.002    0.82 +- 0.02    1.09 +- 0.14       3          0

        50  tgdp                        42.9 +- 2.3    0.51 +- 0.04    0.95 +- 0.02    0.21 +- 0.01  0.052 +- 0.004    0.77 +- 0.02    1.36 +- 0.07       3     538954
        50  discriminator_guidance      53.7 +- 1.7    0.49 +- 0.03    0.89 +- 0.03    0.19 +- 0.01  0.045 +- 0.002    0.81 +- 0.02    1.44 +- 0.05       3     159618
        50  finetune                   48.4 +- 12.8    0.47 +- 0.01    0.94 +- 0.01    0.19 +- 0.01  0.047 +- 0.001    0.74 +- 0.01    1.36 +- 0.05       3    1333969
        50  lora                        35.8 +- 2.1    0.48 +- 0.02    0.95 +- 0.01    0.20 +- 0.01  0.049 +- 0.003    0.71 +- 0.02    1.38 +- 0.05       3      87285
        50  dreambooth                  46.5 +- 0.8    0.50 +- 0.02    0.94 +- 0.00    0.20 +- 0.00  0.047 +- 0.001    0.76 +- 0.03    1.40 +- 0.07       3    1334033
        50  textual_inversion           58.9 +- 0.4    0.47 +- 0.03    0.89 +- 0.02    0.18 +- 0.01  0.042 +- 0.004    0.81 +- 0.02    1.47 +- 0.05       3         64
        50  domain_guidance            49.1 +- 13.5    0.47 +- 0.02    0.93 +- 0.01    0.18 +- 0.01  0.046 +- 0.001    0.74 +- 0.01    1.35 +- 0.05       3    1333969
        50  self_supervised            57.3 +- 14.6    0.51 +- 0.01    0.96 +- 0.02    0.21 +- 0.01  0.053 +- 0.005    0.74 +- 0.01    1.38 +- 0.06       3    1333969
        50  multimodal                 62.9 +- 13.7    0.57 +- 0.02    0.88 +- 0.03    0.22 +- 0.01  0.045 +- 0.004    0.78 +- 0.05    1.35 +- 0.09       3    1563522
        50  gan                         60.3 +- 4.9    0.58 +- 0.04    0.81 +- 0.01    0.23 +- 0.04  0.046 +- 0.007    0.82 +- 0.00    1.34 +- 0.07       3     112370
        50  scratch                    100.6 +- 4.0    0.44 +- 0.01    0.66 +- 0.08    0.15 +- 0.00  0.027 +- 0.001    0.90 +- 0.01    1.43 +- 0.02       3    1333969
        50  source                      57.5 +- 1.0    0.46 +- 0.03    0.88 +- 0.03    0.18 +- 0.01  0.041 +- 0.002    0.82 +- 0.03    1.47 +- 0.04       3          0

       200  tgdp                        39.3 +- 3.0    0.52 +- 0.03    0.95 +- 0.00    0.22 +- 0.00  0.055 +- 0.001    0.74 +- 0.02    1.59 +- 0.02       3     450120
       200  discriminator_guidance      52.8 +- 1.1    0.50 +- 0.03    0.90 +- 0.03    0.19 +- 0.01  0.044 +- 0.001    0.80 +- 0.01    1.65 +- 0.01       3     159618
       200  finetune                    30.3 +- 2.0    0.58 +- 0.02    0.97 +- 0.00    0.26 +- 0.01  0.068 +- 0.002    0.68 +- 0.01    1.49 +- 0.05       3    1333969
       200  lora                        28.5 +- 2.0    0.52 +- 0.04    0.97 +- 0.00    0.22 +- 0.04  0.059 +- 0.011    0.69 +- 0.02    1.52 +- 0.01       3      87285
       200  dreambooth                  43.8 +- 0.4    0.53 +- 0.00    0.95 +- 0.01    0.21 +- 0.01  0.050 +- 0.001    0.74 +- 0.01    1.61 +- 0.02       3    1334033
       200  textual_inversion           58.3 +- 1.4    0.47 +- 0.02    0.89 +- 0.04    0.18 +- 0.01  0.043 +- 0.003    0.81 +- 0.01    1.69 +- 0.01       3         64
       200  domain_guidance             30.1 +- 2.3    0.57 +- 0.03    0.97 +- 0.00    0.25 +- 0.01  0.067 +- 0.002    0.67 +- 0.01    1.47 +- 0.05       3    1333969
       200  self_supervised             29.5 +- 3.5    0.54 +- 0.03    0.97 +- 0.01    0.24 +- 0.02  0.064 +- 0.005    0.68 +- 0.02    1.50 +- 0.03       3    1333969
       200  multimodal                  40.8 +- 2.8    0.58 +- 0.02    0.93 +- 0.02    0.24 +- 0.02  0.053 +- 0.006    0.72 +- 0.01    1.53 +- 0.01       3    1563522
       200  gan                         55.0 +- 2.1    0.58 +- 0.05    0.81 +- 0.05    0.24 +- 0.02  0.047 +- 0.006    0.80 +- 0.00    1.50 +- 0.02       3     112370
       200  scratch                   101.8 +- 16.2    0.39 +- 0.06    0.60 +- 0.12    0.13 +- 0.02  0.024 +- 0.003    0.89 +- 0.03    1.72 +- 0.05       3    1333969
       200  source                      57.5 +- 1.0    0.47 +- 0.03    0.88 +- 0.03    0.18 +- 0.01  0.042 +- 0.002    0.82 +- 0.01    1.66 +- 0.02       3          0

How to read it. Low-rank adapters are the method to begin with: ahead with fifty images on every seed, level with full
fine-tuning with two hundred; a fifteenth of the weights is enough to change the pen and too few to forget how digits look. TGDP
is ahead of the source at every n and on every seed, and further with more images. With ten it is level with adapters and
discriminator guidance on average, and like the latter more even (50 to 54, where adapters read 42 to 58 and fine-tuning 44 to
90): guidance that has learned nothing leaves the source as it is. Discriminator guidance gains nothing from further images,
TGDP does. With fifty it is ahead of fine-tuning on two seeds of three, behind adapters on every one in Frechet distance, ahead
in MMD, precision and memorisation ratio; with two hundred behind both. It is still learning when its 1,000 steps end (held-out loss on
seed 2 .1223 to .1150). On layers of its own alone, without the source's features, it read 50.9, 49.2 and 47.7 on seed 0 (with
them 49.6, 43.4 and 42.3). Domain guidance goes further in the direction of fine-tuning, wrong or right. DreamBooth, held back
by the source's samples, is where the source is with ten and behind with two hundred, and the most even of all that change
its weights. Textual inversion moves nothing: one vector of 64 numbers is no pen. A GAN's samples are the most like single target
images with fifty (precision, density) and at every n, but for a model from scratch, the least diverse (recall). Fine-tuning a
self-supervised source is as uneven as fine-tuning the plain one: ahead of it on two seeds of three with ten images, behind on
one and level on two with fifty, level with two hundred. The multimodal network, which takes an image for its upper and its lower
half and has a source of its own, is behind fine-tuning of the U-Net at every n.

digits (strokes a pixel wider), mean and standard deviation of seeds, one source model, measured with jax 0.10.2, mostly on one core
of two that had other work; 500 samples, features of a classifier of the thin digits; standard errors of a seed's Frechet distance
2 to 7. Held-out AUC of the domain classifier 1.000, cross-entropy 0.002 nats: the data do not overlap, as every call warns. Seconds to
train with 50 images on seed 2, those of the source (169) included: tgdp 228, lora 247, finetune 247, self_supervised 330 (its own
source), dreambooth 334, gan 132. Of processor time the nine methods other than the first two took 73 minutes on two seeds, TGDP 8.

         n  method                        Frechet         prec.        recall         dens.        cover.          C2ST        memor.   seeds    trained
        10  tgdp                      51.5 +- 5.7  0.76 +- 0.07  0.92 +- 0.03  0.49 +- 0.08  0.74 +- 0.02  0.77 +- 0.01  1.04 +- 0.10       3     521502
        10  discriminator_guidance   90.4 +- 15.4  0.74 +- 0.05  0.65 +- 0.09  0.41 +- 0.09  0.60 +- 0.05  0.91 +- 0.02  1.08 +- 0.10       3     173676
        10  finetune                 56.7 +- 13.4  0.78 +- 0.05  0.90 +- 0.04  0.49 +- 0.07  0.72 +- 0.06  0.79 +- 0.03  0.99 +- 0.12       3     280177
        10  lora                     60.1 +- 20.1  0.76 +- 0.09  0.89 +- 0.08  0.46 +- 0.10  0.68 +- 0.05  0.78 +- 0.03  1.02 +- 0.15       3      45301
        10  dreambooth                96.6 +- 3.8  0.47 +- 0.02  0.87 +- 0.05  0.20 +- 0.01  0.55 +- 0.02  0.91 +- 0.02  1.18 +- 0.10       3     280241
        10  textual_inversion        190.5 +- 5.0  0.21 +- 0.05  0.40 +- 0.05  0.06 +- 0.01  0.18 +- 0.03  0.99 +- 0.00  1.30 +- 0.14       3         64
        10  domain_guidance          60.7 +- 17.9  0.81 +- 0.05  0.90 +- 0.03  0.53 +- 0.08  0.73 +- 0.06  0.77 +- 0.04  0.98 +- 0.12       3     280177
        10  self_supervised          50.4 +- 10.9  0.78 +- 0.02  0.92 +- 0.04  0.49 +- 0.05  0.77 +- 0.03  0.77 +- 0.03  0.99 +- 0.11       3     280177
        10  multimodal               72.7 +- 7.1  0.72 +- 0.08  0.83 +- 0.07  0.39 +- 0.10  0.61 +- 0.01  0.85 +- 0.02  1.04 +- 0.12       3     458690
        10  gan                      90.8 +- 27.8  0.91 +- 0.06  0.44 +- 0.27  0.77 +- 0.16  0.66 +- 0.07  0.90 +- 0.03  0.87 +- 0.20       3      60146
        10  scratch                  196.3 +- 5.7  0.53 +- 0.26  0.08 +- 0.05  0.25 +- 0.22  0.23 +- 0.06  0.99 +- 0.01  1.05 +- 0.19       3     280177
        10  source                   217.5 +- 7.0  0.14 +- 0.04  0.15 +- 0.02  0.04 +- 0.01  0.11 +- 0.02  1.00 +- 0.00  1.37 +- 0.14       3          0

        50  tgdp                      34.2 +- 1.3  0.82 +- 0.05  0.94 +- 0.02  0.53 +- 0.06  0.79 +- 0.02  0.72 +- 0.03  1.17 +- 0.01       3     260751
        50  discriminator_guidance    82.9 +- 2.4  0.78 +- 0.11  0.71 +- 0.07  0.47 +- 0.16  0.63 +- 0.08  0.91 +- 0.03  1.19 +- 0.06       3      86838
        50  finetune                  33.3 +- 5.1  0.81 +- 0.02  0.95 +- 0.03  0.56 +- 0.02  0.81 +- 0.04  0.70 +- 0.04  1.14 +- 0.01       3     280177
        50  lora                      31.7 +- 2.4  0.84 +- 0.03  0.95 +- 0.03  0.59 +- 0.07  0.83 +- 0.06  0.69 +- 0.07  1.13 +- 0.05       3      45301
        50  dreambooth                87.3 +- 3.4  0.53 +- 0.04  0.93 +- 0.03  0.27 +- 0.03  0.64 +- 0.05  0.85 +- 0.04  1.39 +- 0.04       3     280241
        50  textual_inversion        192.4 +- 5.0  0.21 +- 0.05  0.40 +- 0.07  0.06 +- 0.01  0.18 +- 0.03  0.99 +- 0.00  1.58 +- 0.06       3         64
        50  domain_guidance           36.0 +- 7.8  0.85 +- 0.02  0.93 +- 0.03  0.60 +- 0.03  0.83 +- 0.03  0.68 +- 0.03  1.11 +- 0.01       3     280177
        50  self_supervised           32.7 +- 3.8  0.88 +- 0.03  0.95 +- 0.04  0.63 +- 0.09  0.84 +- 0.02  0.71 +- 0.03  1.09 +- 0.07       3     280177
        50  multimodal               41.9 +- 4.2  0.84 +- 0.01  0.90 +- 0.01  0.54 +- 0.04  0.75 +- 0.04  0.75 +- 0.04  1.15 +- 0.03       3     458690
        50  gan                       38.6 +- 7.1  0.93 +- 0.01  0.79 +- 0.04  0.77 +- 0.08  0.83 +- 0.01  0.78 +- 0.03  1.06 +- 0.01       3      60146
        50  scratch                   71.0 +- 7.3  0.87 +- 0.03  0.60 +- 0.03  0.64 +- 0.04  0.67 +- 0.01  0.91 +- 0.02  1.10 +- 0.02       3     280177
        50  source                   217.5 +- 7.0  0.14 +- 0.04  0.15 +- 0.02  0.04 +- 0.01  0.11 +- 0.02  1.00 +- 0.00  1.70 +- 0.07       3          0

       200  tgdp                      20.3 +- 2.0  0.86 +- 0.01  0.96 +- 0.02  0.63 +- 0.02  0.86 +- 0.01  0.65 +- 0.01  1.22 +- 0.04       3     178572
       200  discriminator_guidance   75.8 +- 10.1  0.77 +- 0.08  0.72 +- 0.02  0.45 +- 0.08  0.66 +- 0.03  0.90 +- 0.02  1.31 +- 0.07       3      86838
       200  finetune                  18.9 +- 1.6  0.93 +- 0.01  0.94 +- 0.01  0.82 +- 0.04  0.95 +- 0.02  0.61 +- 0.01  1.08 +- 0.04       3     280177
       200  lora                      17.9 +- 0.7  0.92 +- 0.01  0.95 +- 0.03  0.80 +- 0.04  0.93 +- 0.03  0.61 +- 0.02  1.10 +- 0.03       3      45301
       200  dreambooth                83.5 +- 7.7  0.55 +- 0.02  0.97 +- 0.01  0.37 +- 0.02  0.79 +- 0.04  0.77 +- 0.01  1.52 +- 0.05       3     280241
       200  textual_inversion        191.5 +- 4.6  0.21 +- 0.05  0.39 +- 0.07  0.06 +- 0.01  0.18 +- 0.03  0.99 +- 0.00  1.84 +- 0.04       3         64
       200  domain_guidance           21.6 +- 4.0  0.94 +- 0.01  0.93 +- 0.03  0.87 +- 0.05  0.94 +- 0.02  0.65 +- 0.03  1.06 +- 0.03       3     280177
       200  self_supervised           17.6 +- 1.7  0.94 +- 0.02  0.95 +- 0.01  0.84 +- 0.07  0.94 +- 0.02  0.62 +- 0.03  1.07 +- 0.04       3     280177
       200  multimodal               24.0 +- 1.2  0.89 +- 0.00  0.94 +- 0.02  0.66 +- 0.04  0.85 +- 0.01  0.67 +- 0.05  1.19 +- 0.02       3     458690
       200  gan                       24.1 +- 2.8  0.91 +- 0.03  0.88 +- 0.02  0.76 +- 0.08  0.88 +- 0.02  0.70 +- 0.01  1.16 +- 0.02       3      60146
       200  scratch                   31.0 +- 4.3  0.87 +- 0.02  0.90 +- 0.01  0.66 +- 0.02  0.84 +- 0.02  0.74 +- 0.04  1.22 +- 0.04       3     280177
       200  source                   217.5 +- 7.0  0.14 +- 0.04  0.15 +- 0.02  0.04 +- 0.01  0.11 +- 0.02  1.00 +- 0.00  1.95 +- 0.06       3          0

How to read it. TGDP, adapters, fine-tuning with and without a representation, and domain guidance can not be told apart by three
draws of ten images (50 to 61) or of fifty (32 to 36); with ten TGDP's draws are the most even. With two hundred they are within 18 to
22, TGDP's samples less precise (.86 versus .92 to .94) and the farthest from single target images (memorisation ratio 1.22 versus 1.06 to 1.10). Its
ratio says nothing here: all is done by the consistency term, with guidance that is free to move every pixel and up to 1,500 steps of
it (on seed 0 at two hundred a stiffer network read 41.6 after 400 steps and 25.5 after 2,000). DreamBooth is held back by the
source's own samples, which are nothing like the target; textual inversion can not name what the source has never seen; discriminator
guidance, which has the domain classifier alone, stops half way; a GAN is ahead of training from scratch by far and behind fine-tuning.
The multimodal network, which takes an image for its upper and its lower half and has a source of its own, stands beside the GAN:
behind fine-tuning of the U-Net at every n.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments.adjust import values
from experiments.command import command
from experiments.images import Size, data, training
from tgdp_jax.app.commands.compare import compare
from tgdp_jax.data.digits import DigitsConfig
from tgdp_jax.data.registry import ProblemConfig
from tgdp_jax.errors import UserError
from tgdp_jax.settings.presets.images import ImageTrainingConfig
from tgdp_jax.settings.run import CompareConfig
from tgdp_jax.settings.sampling import SamplingConfig
from tgdp_jax.transfer import METHODS

LEFT_OUT = ("kde", "sir")  # what looks at coordinates has nothing to say of pixels

Study = Literal["digits", "mnist-usps"]


def settings(problem: str, size: Size) -> dict[str, Any]:
    """Settings of networks and training, see `ImageTrainingConfig`."""
    defaults = ImageTrainingConfig()
    out = values(defaults)
    if problem == "mnist-usps" or size == "tiny":
        out |= training(size)
        # What the source has seen helps heads that see few images for few steps.
        out["head"] = dataclasses.replace(out["head"], on="source")
        source, rival = out["source"].optimiser, out["rival"].optimiser
        out["gan"] = dataclasses.replace(
            defaults.gan,
            folds=out["rival"].folds,
            source=dataclasses.replace(defaults.gan.source, steps=source.steps, batch_size=source.batch_size),
            target=dataclasses.replace(defaults.gan.target, steps=rival.steps, batch_size=rival.batch_size),
        )
        out["dreambooth"] = dataclasses.replace(defaults.dreambooth, num_prior=100 if size == "tiny" else 500)
    else:
        out["sampling"] = SamplingConfig(num=500, clip=1.0, chunk=250)
    return out


def study_problem(study: Study, data_dir: Path | None, shift: str, out: Path) -> ProblemConfig:
    """The data of a study; see `main`.

    Raises:
      UserError: mnist-usps without its data.
    """
    if study == "digits":
        return DigitsConfig(shift=shift)
    if data_dir is None:
        raise UserError("mnist-usps needs --data-dir: the text at the top of images.py says what it holds")
    return data(data_dir, out)


def main(
    study: Annotated[Study, tyro.conf.Positional],
    data_dir: Path | None = None,
    shift: str = "thick",
    out: Path = Path("runs"),
    size: Size = "cpu",
    seeds: int = 3,
) -> None:
    """Runs one study.

    Args:
      study: which.
      data_dir: folder of the data sets of mnist-usps.
      shift: of digits: thick, inverted, rotated or classes.
      out: folder for the results.
      size: tiny (minutes), cpu, or full (mnist-usps on an accelerator).
      seeds: how many; tiny has one.
    """
    name = f"digits-{shift}" if study == "digits" else study
    config = CompareConfig(
        problem=study_problem(study, data_dir, shift, out),
        methods=tuple(method for method in METHODS if method not in LEFT_OUT),
        n_targets=(10, 50) if size == "tiny" else (10, 50, 200),
        seeds=1 if size == "tiny" else seeds,
        **{**settings(study, size), "source_seed": 0},
    )
    compare(config, out / f"methods-{name}-{size}")


if __name__ == "__main__":
    command(main)
