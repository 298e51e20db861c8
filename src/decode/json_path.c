/*-------------------------------------------------------------------------
 *
 * json_path.c
 *    Dotted paths: where records and other values stand in a document.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode/json_path.h"

/*
 * etl_json_path_parse cuts a path at its dots; "", "$" and NULL are the
 * document itself.  A last [*], as SQL/JSON writes it, says nothing more.
 */
EtlJsonPath
etl_json_path_parse(const char *text)
{
	EtlJsonPath path = {0};
	char	   *copy;
	char	   *dot;
	const char *p;
	int			room = 1;

	path.text = pstrdup(text ? text : "");
	p = path.text;
	if (*p == '$')
		p++;
	if (*p == '.')
		p++;
	if (*p == '\0' || strcmp(p, "[*]") == 0)
		return path;
	copy = pstrdup(p);
	if (strlen(copy) > 3 && strcmp(copy + strlen(copy) - 3, "[*]") == 0)
		copy[strlen(copy) - 3] = '\0';
	for (p = copy; *p; p++)
		room += *p == '.';
	path.segments = palloc(room * sizeof(char *));
	path.segments[path.n++] = copy;
	for (dot = strchr(copy, '.'); dot; dot = strchr(dot + 1, '.'))
	{
		*dot = '\0';
		path.segments[path.n++] = dot + 1;
	}
	return path;
}
