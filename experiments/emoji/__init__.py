"""Emoji from one designer to another: a text-to-image model of Noto's as the source, n of Twemoji or Fluent as target.

    python -m experiments.emoji source --data-dir DATA      trains the source model
    python -m experiments.emoji styles --data-dir DATA      all methods, n = 10, 50, 200, seeds 0-2
    python -m experiments.emoji subjects --data-dir DATA    DreamBooth and textual inversion of a cat and of a clock
    ... --targets twemoji --methods source lora --n-targets 50 --seeds 1        a part of either
    ... --size tiny                                         to see that it works

DATA holds noto.npz, twemoji.npz and fluent.npz: `x` [N, 32, 32, 3] (uint8, drawn from SVG on white) and `text` [N],
names such as "grinning cat", of the npm packages @iconify-json/noto, twemoji and fluent-emoji-flat. The first two of
the commands train what they lack, and everything goes on where it was cut off; results go to runs/ (--out). Grids of
pictures are in pictures/ there.

Not measured yet.
"""
