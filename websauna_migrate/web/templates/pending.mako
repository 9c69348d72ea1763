<%inherit file="base.mako"/>\
<%namespace name="parts" file="parts.mako"/>\
<%block name="title">${look.verdict[1]} – Migrations</%block>\
<div class="narrow">
% if look.problem:
<h1>The migrations need you</h1>
${parts.problem(look.problem)}\
% else:
<h1>${look.verdict[1]}</h1>
<p class="lead">The application's code is ahead of its database. It answers again when these steps are applied.</p>
% endif
${parts.at_work(look.readiness)}\
<div class="do">
% if token is not None:
<form method="post" action="${request.route_path('websauna_migrate.upgrade')}">
<input type="hidden" name="csrf_token" value="${token}">
<input type="hidden" name="back" value="${back}">
<button>Apply ${"it" if len(look.plan or ()) == 1 else "them"} now</button>
</form>
<span>or run <code>${command}</code></span>
% else:
<span>Run <code>${command}</code>, then <a href="${back}">load the page again</a>.</span>
% endif
</div>
% if look.plan:
<section aria-label="Pending steps">
${parts.plan(look.plan, 50, request)}\
</section>
% endif
${parts.races(look.races)}\
</div>
