<p><strong>${look.verdict[1]}</strong> in <code>${look.url}</code></p>
% if look.problem:
<pre>${look.problem}</pre>
% endif
% for entry in (look.readiness.half_done if look.readiness else ()):
<p>Half done: ${entry}. See <code>ws-alembic repair</code>.</p>
% endfor
<table class="table table-striped">
<thead><tr><th>Package</th><th>Applied</th><th>Newest</th><th>Pending</th></tr></thead>
<tbody>
% for one in look.states:
<tr><td>${word(one.package)}</td><td>${word(", ".join(one.rows))}</td>\
<td>${word(", ".join(head.id for head in one.heads))}</td>\
<td>${one.pending if one.installed else "not installed"}</td></tr>
% endfor
</tbody>
</table>
% if look.plan:
<h4>Plan</h4>
<table class="table table-striped">
<thead><tr><th>#</th><th>Package</th><th>Revision</th><th>Message</th><th>Reason</th></tr></thead>
<tbody>
% for number, step in enumerate(look.plan, 1):
<tr><td>${number}</td><td>${word(step.package)}</td><td><code>${word(step.revision.id)}</code></td>\
<td>${word(step.revision.message)}</td><td>${word(step.reason)}</td></tr>
% endfor
</tbody>
</table>
<h4>SQL, by step: open one</h4>
% for one in steps:
<details><summary>${word(one.step.package)} <code>${word(one.step.revision.id)}</code> \
${word(one.step.revision.message)}</summary>
% for statement in one.statements:
<pre>${f"-- line {statement.line}" if statement.line else "-- the service"}
${statement.sql}</pre>
% endfor
% if one.problem:
<p>What follows is only known when it runs: ${one.problem}</p>
% endif
</details>
% endfor
% endif
% if look.races:
<h4>Races</h4>
% for one in look.races:
<pre>${one.message}</pre>
% endfor
% endif
% if picture:
<h4>Graph</h4>
<p><img src="${picture}" alt="The graph of revisions; as text: ws-alembic graph"></p>
% endif
