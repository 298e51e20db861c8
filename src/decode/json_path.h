/*-------------------------------------------------------------------------
 *
 * json_path.h
 *    Dotted paths: where records and other values stand in a document.
 *
 * data.items, $.data.items, meta.pages.0.next.  Included by json.c and
 * json_facts.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_JSON_PATH_H
#define ETL_JSON_PATH_H

typedef struct EtlJsonPath
{
	const char *text;
	int			n;				/* 0: the document itself */
	char	  **segments;		/* keys, or the numbers of elements */
} EtlJsonPath;

extern EtlJsonPath etl_json_path_parse(const char *text);

#endif							/* ETL_JSON_PATH_H */
