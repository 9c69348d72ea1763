<%inherit file="base.mako"/>\
<%namespace name="parts" file="parts.mako"/>\
<%block name="title">Graph – Migrations</%block>\
<h1>Graph of revisions</h1>
<form class="asked" method="get" action="${request.route_path('websauna_migrate.graph')}">
<label>Package <select name="package"><option value="">all</option>
% for name in packages:
<option value="${name}"\
% if asked["package"] == name:
 selected\
% endif
>${word(name)}</option>
% endfor
</select></label>
<label>Around <input name="around" value="${asked['around']}" placeholder="package@head" autocomplete="off"></label>
<label>Table <input name="table" value="${asked['table']}" placeholder="users" autocomplete="off"></label>
<label class="check"><input type="checkbox" name="whole" value="1"\
% if "whole" in request.GET:
 checked\
% endif
> unfold chains</label>
<button>Draw</button>
</form>
${parts.problem(problem)}\
% if picture:
<div class="picture" tabindex="0" role="region" aria-label="Picture of the graph, scrolls">${picture}</div>
<p class="links"><a href="${request.route_path('websauna_migrate.picture', _query=request.GET)}">As an SVG file</a></p>
<details><summary>The same as text</summary><pre tabindex="0">${text}</pre></details>
% endif
