<%def name="verdict(look)">\
<% kind, words = look.verdict %>\
<% marks = {"good": "✓", "pending": "↑", "busy": "▶", "bad": "!"} %>\
<p class="verdict ${kind}" role="status"><span class="mark" aria-hidden="true">${marks[kind]}</span>
<strong>${words}</strong>
% if kind == "pending":
<span class="todo">Run <code>ws-alembic -x packages=all upgrade</code></span>
% endif
</p>
</%def>\
<%def name="problem(text)">\
% if text:
<pre class="problem" role="alert" tabindex="0">${text}</pre>
% endif
</%def>\
<%def name="at_work(readiness)">\
% if readiness is not None and (readiness.running or readiness.half_done):
<ul class="at-work">
% if readiness.running:
<li><span class="state running">▶ running</span> ${readiness.running}</li>
% endif
% for entry in readiness.half_done:
<li><span class="state half-done">! half done</span> ${entry}. See <code>ws-alembic repair</code>.</li>
% endfor
</ul>
% endif
</%def>\
<%def name="state(one)">\
% if not one.installed:
<span class="state away">– not installed</span>\
% elif one.unknown:
<span class="state ahead">↑ ahead</span>\
% elif one.pending:
<span class="state pending">○ ${one.pending} pending</span>\
% else:
<span class="state applied">✓ current</span>\
% endif
</%def>\
<%def name="packages(states)">\
<table role="table" class="cards">
<thead role="rowgroup"><tr role="row"><th role="columnheader" scope="col">Package</th>\
<th role="columnheader" scope="col">State</th><th role="columnheader" scope="col">Applied</th>\
<th role="columnheader" scope="col">Newest</th></tr></thead>
<tbody role="rowgroup">
% for one in states:
<tr role="row"><th role="rowheader" scope="row"><bdi>${word(one.package)}</bdi></th>\
<td role="cell" data-label="State">${state(one)}</td>\
<td role="cell" data-label="Applied">\
% for revision in one.applied:
<div><code>${word(revision.id)}</code> <bdi class="message">${word(revision.message)}</bdi></div>\
% endfor
% for row in one.unknown:
<div><code>${word(row)}</code> <span class="message">no script defines it</span></div>\
% endfor
% if not one.rows:
<span class="message">nothing</span>\
% endif
</td>\
<td role="cell" data-label="Newest">\
% for revision in one.heads:
<div><code>${word(revision.id)}</code></div>\
% endfor
% if not one.heads:
<span class="message">–</span>\
% endif
</td></tr>
% endfor
</tbody>
</table>
% for one in states:
% for table in one.elsewhere:
<p class="note"><bdi>${word(one.package)}</bdi>: its revisions are in the table <code>${word(table)}</code>. \
To take it over: <code>ws-alembic -x packages=${word(one.package)} adopt</code></p>
% endfor
% endfor
</%def>\
<%def name="plan(plan, limit, request=None)">\
<ol class="plan">
% for number, step in enumerate(plan.steps[:limit], 1):
<li><span class="number">${number}</span>\
<div><p class="what"><bdi class="package">${word(step.package)}</bdi> \
% if request is not None:
<a href="${request.route_path('websauna_migrate.step', package=step.package, revision=step.revision.id)}">\
<code>${word(step.revision.id)}</code></a> \
% else:
<code>${word(step.revision.id)}</code> \
% endif
<bdi>${word(step.revision.message)}</bdi></p>
<p class="why">${word(step.reason)}</p></div></li>
% endfor
</ol>
% if len(plan.steps) > limit:
<p class="note">${len(plan.steps) - limit} more steps: <code>ws-alembic plan</code></p>
% endif
</%def>\
<%def name="races(found)">\
% if found:
<section aria-labelledby="races">
<h2 id="races">Races</h2>
<ul class="races">
% for one in found:
<li>${one.message}</li>
% endfor
</ul>
</section>
% endif
</%def>\
