"""Arithmetic of a function, without running it.

Floating-point operations are those of the matrix products and convolutions in the function's jaxpr, two a
multiply-add: the arithmetic as it is written. For a multilayer perceptron that is 2 sum(inputs * outputs) a row for the
forward pass and as much again for the gradient by its input. Elementwise work (a few per cent at width 512) is not
counted, so a fraction of the matrix-product rate is never flattered.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core


def matmul_flops(fn: Callable[..., Any], *args: Any) -> int:
    """Operations of the matrix products and convolutions of fn(*args).

    A branch counts as its most expensive case, the body of a while loop as one pass (a scan's as its length).

    Args:
      fn: what is counted.
      args: arrays, or `jax.ShapeDtypeStruct`s.
    """
    return _count(jax.make_jaxpr(fn)(*args).jaxpr)


def _count(jaxpr: core.Jaxpr) -> int:
    total = 0
    shape = operator.attrgetter("aval.shape")
    for equation in jaxpr.eqns:
        params, name = equation.params, equation.primitive.name
        shapes = [shape(variable) for variable in (*equation.invars, *equation.outvars)]
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            total += 2 * math.prod(shapes[-1]) * math.prod(shapes[0][axis] for axis in contracted)
        elif name == "conv_general_dilated":
            # The kernel's input axis already is the share of one group.
            kernel, out_axis = shapes[1], params["dimension_numbers"].rhs_spec[0]
            total += 2 * math.prod(shapes[-1]) * math.prod(kernel) // kernel[out_axis]
        else:
            inner = [_count(part) for part in _inside(params)]
            total += (max(inner, default=0) if name == "cond" else sum(inner)) * params.get("length", 1)
    return total


def _inside(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """The jaxprs among an equation's parameters."""
    for value in params.values():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(part, core.ClosedJaxpr):
                yield part.jaxpr
            elif isinstance(part, core.Jaxpr):
                yield part
