/*-------------------------------------------------------------------------
 *
 * texts.c
 *    Texts that may be missing, and lists of them, compared.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/texts.h"

/*
 * etl_same_text: see texts.h.
 */
bool
etl_same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/*
 * etl_same_texts: see texts.h.
 */
bool
etl_same_texts(List *a, List *b)
{
	ListCell   *one;
	ListCell   *two;

	if (list_length(a) != list_length(b))
		return false;
	forboth(one, a, two, b)
		if (strcmp(lfirst(one), lfirst(two)) != 0)
			return false;
	return true;
}
