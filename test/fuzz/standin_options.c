/*-------------------------------------------------------------------------
 *
 * standin_options.c
 *    Options for the harness: text "key=value\nkey=value\n" behind a Jsonb *.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/pg_list.h"

#include "common/json.h"

char *
etl_json_get_text(const Jsonb *options, const char *key)
{
	const char *p = (const char *) options;
	size_t		length = strlen(key);

	while (p && *p)
	{
		const char *end = strchr(p, '\n');

		if (end == NULL)
			end = p + strlen(p);
		if (strncmp(p, key, length) == 0 && p[length] == '=')
		{
			char	   *value = pnstrdup(p + length + 1, end - p - length - 1);

			return strcmp(value, "\\t") == 0 ? "\t" : value;
		}
		p = *end ? end + 1 : end;
	}
	return NULL;
}

bool
etl_json_get_bool(const Jsonb *options, const char *key, bool default_value)
{
	char	   *text = etl_json_get_text(options, key);

	return text ? strcmp(text, "true") == 0 : default_value;
}

char
etl_json_kind_of(const Jsonb *options, const char *key)
{
	const char *text = etl_json_get_text(options, key);

	return text == NULL ? '\0' : strchr(text, ',') ? 'a' :
													 'b';
}

int64
etl_json_get_int64(const Jsonb *options, const char *key, int64 default_value)
{
	char	   *text = etl_json_get_text(options, key);

	return text ? atoll(text) : default_value;
}

List *
etl_json_get_list(const Jsonb *options, const char *key)
{
	char	   *text = etl_json_get_text(options, key);
	List	   *list;
	char	   *word;
	char	   *rest;

	if (text == NULL)
		return NIL;
	list = palloc0(sizeof(List));
	list->type = T_List;
	list->elements = palloc(16 * sizeof(ListCell));
	for (word = strtok_r(text, ",", &rest); word && list->length < 16; word = strtok_r(NULL, ",", &rest))
		lfirst(&list->elements[list->length++]) = word;
	return list;
}

bool
etl_json_has(const Jsonb *options, const char *key)
{
	return etl_json_get_text(options, key) != NULL;
}

/* a bare value: an object has the keys, all else is a string */
char
etl_json_kind(const Jsonb *value)
{
	return strchr((const char *) value, '=') ? 'o' : 's';
}

char *
etl_json_bare_text(const Jsonb *value)
{
	return pstrdup((const char *) value);
}

Jsonb *
etl_json_parse(const char *text)
{
	return (Jsonb *) pstrdup("");
}

List *
etl_json_keys(const Jsonb *object)
{
	List	   *list = palloc0(sizeof(List));
	const char *p = (const char *) object;

	list->type = T_List;
	list->elements = palloc(16 * sizeof(ListCell));
	while (p && *p && list->length < 16)
	{
		const char *stop = strchr(p, '=');
		const char *end = strchr(p, '\n');

		if (stop != NULL && (end == NULL || stop < end))
			lfirst(&list->elements[list->length++]) = pnstrdup(p, stop - p);
		p = end ? end + 1 : NULL;
	}
	return list;
}
