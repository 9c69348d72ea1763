<%inherit file="base.mako"/>\
<%namespace name="parts" file="parts.mako"/>\
<%block name="title">${look.verdict[1]} – Migrations</%block>\
<h1>Migrations</h1>
<p class="database"><span>Database</span> <code>${look.url}</code></p>
${parts.verdict(look)}\
${parts.problem(look.problem)}\
${parts.at_work(look.readiness)}\
% if look.states:
<section aria-labelledby="packages">
<h2 id="packages">Packages</h2>
${parts.packages(look.states)}\
</section>
% endif
% if look.plan is not None:
<section aria-labelledby="plan">
<h2 id="plan">What an upgrade would do</h2>
% if look.plan.steps:
${parts.plan(look.plan, limit, request)}\
% else:
<p class="empty">Nothing: every revision is applied.</p>
% endif
</section>
% endif
${parts.races(look.races)}\
