"""Pretrained weights: found, fetched, read without running code, and loaded whole or not at all."""

from __future__ import annotations

from segzoo.weights.files import read_tensors
from segzoo.weights.load import load_pretrained, load_source
from segzoo.weights.sources import fetch
from segzoo.weights.transfer import TransferReport, adapt_first_conv

__all__ = ["TransferReport", "adapt_first_conv", "fetch", "load_pretrained", "load_source", "read_tensors"]
