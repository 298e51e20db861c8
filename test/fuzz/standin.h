/*-------------------------------------------------------------------------
 *
 * standin.h
 *    What the harness asks of standin.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_STANDIN_H
#define ETL_STANDIN_H

#include <setjmp.h>

extern jmp_buf standin_error;	/* where an error goes */
extern char standin_message[];	/* its message */
extern size_t standin_allocated;	/* bytes held at the moment */
extern void standin_reset(void);

#endif							/* ETL_STANDIN_H */
