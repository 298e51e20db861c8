/*-------------------------------------------------------------------------
 *
 * texts.h
 *    Texts that may be missing, and lists of them, compared.
 *
 * Called by whoever compares a definition with the one before.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_TEXTS_H
#define ETL_TEXTS_H

#include "nodes/pg_list.h"

extern bool etl_same_text(const char *a, const char *b);	/* NULL is the same as NULL only */
extern bool etl_same_texts(List *a, List *b);	/* char *, in their order */

#endif							/* ETL_TEXTS_H */
