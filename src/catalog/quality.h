/*-------------------------------------------------------------------------
 *
 * quality.h
 *    What is checked, and the score that follows from the results.
 *
 * Called by quality/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_QUALITY_H
#define ETL_CATALOG_QUALITY_H

#include "nodes/pg_list.h"

typedef struct EtlScore
{
	char	   *dimension;		/* the six, then "overall" */
	char	   *score;			/* numeric text; NULL: nothing checked */
	int			checks;
	int			failed;
	char	   *coverage;		/* numeric text; NULL: the relation has no columns */
} EtlScore;

extern List *etl_quality_targets(void);	/* char *, every relation with a check */

/* etl_quality_scores: EtlScore *; 'columns' are the relation's, char * */
extern List *etl_quality_scores(const char *target, List *columns);

#endif							/* ETL_CATALOG_QUALITY_H */
