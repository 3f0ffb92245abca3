"""Seeing a study: sinks for measured values, the terminal's view, the figures at the end.

A `Sink` takes the values of one moment and belongs to the thread that writes it (the control thread of a server rank);
a `View` shows a `StudySnapshot` and belongs to the launcher's loop. Imports torch and matplotlib only when a sink or a
figure needs them.
"""

from melissa_like.monitoring.sinks import JsonLinesSink, LenientSink, Recorder, Relay, Sink, TensorBoardSink
from melissa_like.monitoring.terminal import LiveView, PlainView, StudySnapshot, View, view_for

__all__ = [
    "JsonLinesSink",
    "LenientSink",
    "LiveView",
    "PlainView",
    "Recorder",
    "Relay",
    "Sink",
    "StudySnapshot",
    "TensorBoardSink",
    "View",
    "view_for",
]
