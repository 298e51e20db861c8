{% test at_most(model, rows) %}
select * from (select count(*) as n from {{ model }}) c where n > {{ rows }}
{% endtest %}
