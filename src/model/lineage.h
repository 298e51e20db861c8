/*-------------------------------------------------------------------------
 *
 * lineage.h
 *    Edges between columns; for lineage.c and lineage_expression.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_MODEL_LINEAGE_H
#define ETL_MODEL_LINEAGE_H

#include "model/internal.h"

/* What happens to a value, weakest first; from CONDITIONAL on: what decides about a row. */
typedef enum EtlEdgeKind
{
	EDGE_IDENTITY,
	EDGE_TRANSFORMATION,
	EDGE_AGGREGATION,
	EDGE_OPAQUE,
	EDGE_CONDITIONAL,
	EDGE_JOIN,
	EDGE_FILTER,
	EDGE_GROUP,
	EDGE_SORT,
	EDGE_WINDOW
} EtlEdgeKind;

typedef struct EtlEdge
{
	char	   *source;
	char	   *column;
	EtlEdgeKind kind;
} EtlEdge;

/*
 * A query and those around it, as varlevelsup counts them.  What a CTE, a
 * view or a column yields is asked for from many places: it is found once.
 */
typedef struct EtlLineageLevel
{
	Query	   *query;
	struct EtlLineageLevel *outer;
	struct EtlLineageLevel *root;	/* which keeps the views */
	List	   *below;			/* EtlLineageLevel *, of what is inside; of the root: of views, too */
	Oid			view;
	FuncExpr   *call;			/* of the body of an SQL function: its call … */
	struct EtlLineageLevel *call_level;	/* … and where that stands */
	List	  **columns;		/* EtlEdge * of each column that was asked for */
	bool	   *found;
	List	   *rows;			/* EtlEdge * of what decides about its rows */
	bool		rows_found;
	List	  **known;			/* of a recursive CTE: edges of each column, as far as they are known */
	struct EtlLineageLevel *settled;	/* of a recursive CTE: the turn that found no more */
} EtlLineageLevel;

/* ---- lineage.c: from a column to those below ---- */

extern EtlLineageLevel *etl_lineage_level(EtlLineageLevel *outer, Query *query);
/* lists that belong to the level: to be copied before they are changed */
extern List *etl_lineage_of_column(EtlLineageLevel *level, int resno);
extern List *etl_lineage_of_rows(EtlLineageLevel *level);
extern List *etl_lineage_of_var(Var *var, EtlLineageLevel *level);

/* ---- lineage_expression.c: through an expression ---- */

extern List *etl_lineage_add(List *edges, const char *source, const char *column, EtlEdgeKind kind);
extern List *etl_lineage_add_all(List *edges, List *inner, EtlEdgeKind kind);
extern List *etl_lineage_trace(Node *expression, EtlLineageLevel *level, EtlEdgeKind kind);
/* the body of an SQL function; NULL: it is opaque, or calls itself */
extern EtlLineageLevel *etl_lineage_body(FuncExpr *call, EtlLineageLevel *level);
/* the edges of one column (0: all) of a body */
extern List *etl_lineage_of_body(EtlLineageLevel *body, AttrNumber attnum);

#endif							/* ETL_MODEL_LINEAGE_H */
