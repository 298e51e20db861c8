/*-------------------------------------------------------------------------
 *
 * traits.h
 *    What besides its inputs decides a query's result.
 *
 * Called by the files of model/ that decide whether a model is due.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_MODEL_TRAITS_H
#define ETL_MODEL_TRAITS_H

#include "nodes/parsenodes.h"

#include "catalog/definition.h"
#include "catalog/history.h"

typedef struct EtlQueryTraits
{
	bool		uses_clock;		/* now(), current_date, …, or a literal like 'today' */
	bool		uses_words;		/* such a literal: what it means is fixed when it is analyzed */
	bool		all_params;		/* etl.param() with a computed name */
	List	   *params;			/* char *: names given to etl.param() */
	/*
	 * Hashes of the views that etl does not manage, and of the functions, that
	 * it reaches, by kind and name, a JSON object; NULL: none.
	 */
	char	   *below;
} EtlQueryTraits;

/* of the query as it was analyzed, and of what option depends_on names; inside etl_run_as */
extern void etl_query_traits(Query *query, const EtlModel *model, EtlQueryTraits *traits);

/* ---- below.c ---- */

/* what the publication of a model depends on: what is below it, and values of parameters; may be NULL */
extern char *etl_below_fingerprint(const EtlQueryTraits *traits, char *params);
/* which view or function is not the one that a model was built with, as a reason; NULL: none */
extern char *etl_below_change(const EtlModel *model, const EtlQueryTraits *traits, const EtlNodeState *state);

#endif							/* ETL_MODEL_TRAITS_H */
