/*-------------------------------------------------------------------------
 *
 * link.h
 *    The Link header field of RFC 8288.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_HTTP_LINK_H
#define ETL_HTTP_LINK_H

/* The reference whose rel holds "next", palloc'd; NULL when there is none. */
extern char *http_link_next(const char *field);

#endif							/* ETL_HTTP_LINK_H */
