<%inherit file="base.mako"/>\
<%block name="title">${step.package} ${step.revision.id} – Migrations</%block>\
<h1><bdi>${word(step.revision.message)}</bdi></h1>
<dl class="facts">
<div><dt>Package</dt><dd><bdi>${word(step.package)}</bdi></dd></div>
<div><dt>Revision</dt><dd><code>${word(step.revision.id)}</code></dd></div>
<div><dt>Why</dt><dd>${word(step.reason)}</dd></div>
<div><dt>Script</dt><dd><code>${path}</code></dd></div>
</dl>
<section aria-labelledby="sql">
<h2 id="sql">SQL of this step</h2>
% if note:
<p class="note">${note}</p>
% endif
<div class="blocks">
% for block in blocks:
<div class="block">
% if block.line is not None:
<p class="source"><span class="line">line ${block.line}</span> <code>${word(block.code)}</code></p>
% else:
<p class="source"><span class="line">the service</span></p>
% endif
<pre class="sql">${"\n".join(one.sql for one in block.statements)}</pre>
% for one in block.findings:
<div class="finding"><p><strong>⚠ ${one.rule}</strong> ${one.text}</p>
% if one.help:
<p>${one.help}</p>
% endif
</div>
% endfor
</div>
% endfor
</div>
% if sql.problem:
<p class="note">What follows is only known when it runs\
% if sql.line:
, from line ${sql.line} on\
% endif
: ${sql.problem}</p>
% endif
% if not blocks:
<p class="empty">This step has no SQL.</p>
% endif
</section>
