"""The console scripts: parse, boot the application, make one service call, render, close."""
