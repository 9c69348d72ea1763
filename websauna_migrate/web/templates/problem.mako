<%inherit file="base.mako"/>\
<%namespace name="parts" file="parts.mako"/>\
<h1>Migrations</h1>
${parts.problem(problem)}\
