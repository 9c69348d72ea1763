<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title><%block name="title">Migrations</%block></title>
<link rel="stylesheet" href="${style}">
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="top">
<p class="brand"><a href="${request.route_path('websauna_migrate.overview')}">Migrations</a></p>
<nav aria-label="Pages">
% for name, words in (("overview", "Overview"), ("graph", "Graph")):
<a href="${request.route_path('websauna_migrate.' + name)}"\
% if here == name:
 aria-current="page"\
% endif
>${words}</a>
% endfor
</nav>
</header>
<main id="main">
${self.body()}\
</main>
</body>
</html>
