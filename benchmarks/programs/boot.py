"""Start an application and end: what every command of it waits for."""

import sys

from pyramid.paster import bootstrap

bootstrap(sys.argv[1])["closer"]()
