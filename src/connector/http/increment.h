/*-------------------------------------------------------------------------
 *
 * increment.h
 *    Values that grow: numbers, dates, timestamps, or text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_HTTP_INCREMENT_H
#define ETL_HTTP_INCREMENT_H

/* the greater of two values, 'a' NULL at first */
extern char *http_increment_greater(char *a, const char *b);

/* 'value' less 'lookback' (an interval, or a number), in the same notation; NULL lookback: 'value' */
extern char *http_increment_look_back(char *value, const char *lookback);

#endif							/* ETL_HTTP_INCREMENT_H */
