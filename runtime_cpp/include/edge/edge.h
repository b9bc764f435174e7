/* libedge: what is around the network, for programs in C and C++ that run it themselves.
 *
 *   edge_card* card;
 *   edge_image* image;
 *   edge_result* result;
 *   edge_card_read("card.json", &card);
 *   edge_image_read(card, "part.png", NULL, &image);
 *   edge_image_input(image, 0, values, edge_card_input(card, 0)->count);
 *   ... ONNX Runtime makes output.values of them ...
 *   edge_image_set_outputs(image, 0, &output, 1);
 *   edge_image_result(image, &result);
 *   puts(edge_result_json(result));
 *
 * Functions that can fail return NULL on success, otherwise an error that the caller frees; what
 * they would have made is then NULL. None ends the process, prints, or keeps anything outside of
 * what it hands out. A card may be used by several threads at once, anything else by one at a time.
 * All that a function takes is in memory that is the caller's; what it returns a pointer to lives
 * as long as the object that was asked. Accessors return 0 or NULL when given NULL; an error's
 * texts are "".
 */
#ifndef EDGE_EDGE_H
#define EDGE_EDGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EDGE_LIBRARY_VERSION "0.1.0"
#define EDGE_API __attribute__((visibility("default")))
#define EDGE_FALLIBLE EDGE_API __attribute__((warn_unused_result))

/* Version of the library at hand, as EDGE_LIBRARY_VERSION is that of this header. */
EDGE_API const char* edge_version(void);

/* ---- errors */

/* Those below 100 are exit codes of edge-infer, too. */
typedef enum edge_code {
  EDGE_CODE_OK = 0, /* of NULL, which is no error */
  EDGE_CODE_BUG = 1,
  EDGE_CODE_ARGUMENT = 2, /* of the calling program: NULL, a wrong order, sizes unlike the card's */
  EDGE_CODE_IMAGE = 3,
  EDGE_CODE_MODEL = 4, /* outputs of the right sizes that make no sense, or are not finite */
  EDGE_CODE_CARD = 5,
  EDGE_CODE_MEMORY = 100 /* there is none left */
} edge_code;

typedef struct edge_error edge_error;

EDGE_API edge_code edge_error_code(const edge_error* error);
EDGE_API const char* edge_error_word(const edge_error* error);    /* such as "image_truncated" */
EDGE_API const char* edge_error_message(const edge_error* error); /* "part.png: is truncated" */
EDGE_API const char* edge_error_next(const edge_error* error);    /* what to do about it */
EDGE_API void edge_error_free(edge_error* error);                 /* NULL is fine, here as below */

/* ---- cards: what card.json says of a model */

typedef enum edge_task {
  EDGE_TASK_CLASSIFY = 0,
  EDGE_TASK_TENSOR = 1, /* no image: its inputs are the caller's */
  EDGE_TASK_ANOMALY = 2,
  EDGE_TASK_SEGMENT = 3,
  EDGE_TASK_DETECT = 4
} edge_task;

/* An input or output of the network, of float32 values. */
typedef struct edge_tensor_info {
  const char* name;
  const int64_t* shape; /* rank sizes, -1 where one is open */
  size_t rank;
  size_t count; /* values; 0 where a size is open */
} edge_tensor_info;

typedef struct edge_card edge_card;

EDGE_FALLIBLE edge_error* edge_card_read(const char* path, edge_card** card);
EDGE_FALLIBLE edge_error* edge_card_parse(const char* json, size_t size, edge_card** card);
EDGE_API void edge_card_free(edge_card* card); /* its images may still be in use */
EDGE_API edge_task edge_card_task(const edge_card* card);
EDGE_API const char* edge_card_name(const edge_card* card);
EDGE_API size_t edge_card_label_count(const edge_card* card);
EDGE_API const char* edge_card_label(const edge_card* card,
                                     size_t index); /* NULL beyond the last */
EDGE_API size_t edge_card_input_count(const edge_card* card);
EDGE_API size_t edge_card_output_count(const edge_card* card);
/* NULL beyond the last. The input of an image is 1, channels, height, width. */
EDGE_API const edge_tensor_info* edge_card_input(const edge_card* card, size_t index);
EDGE_API const edge_tensor_info* edge_card_output(const edge_card* card, size_t index);

/* ---- images: from pixels to the network's input */

/* How large an image may be. 0, and NULL in place of this, stand for edge-infer's limits; more is
 * refused. */
typedef struct edge_limits {
  size_t struct_size; /* sizeof(edge_limits) */
  size_t bytes;       /* of the encoded image */
  size_t pixels;      /* width * height */
  size_t side;        /* pixels */
  size_t memory;      /* bytes that the encoded image and its decoder may hold at once */
} edge_limits;

/* 8 bits a channel; those of a camera are converted as docs/formats.md says. The numbers are those
 * of `edge_format` in edge/client.h. */
typedef enum edge_pixel_format {
  EDGE_PIXELS_GRAY = 1,
  EDGE_PIXELS_RGB = 2,
  EDGE_PIXELS_BGR = 3,
  EDGE_PIXELS_NV12 = 4,      /* BT.601, luma from 16 to 235; a plane of luma and one of chroma */
  EDGE_PIXELS_YUYV = 5,      /* likewise, luma and chroma by turns */
  EDGE_PIXELS_NV12_FULL = 6, /* luma from 0 to 255, as in a JPEG */
  EDGE_PIXELS_YUYV_FULL = 7,
  EDGE_PIXELS_BAYER_RGGB = 8, /* named by the first two pixels of the first two rows */
  EDGE_PIXELS_BAYER_GRBG = 9,
  EDGE_PIXELS_BAYER_GBRG = 10,
  EDGE_PIXELS_BAYER_BGGR = 11
} edge_pixel_format;

/* A picture that is decoded already, upright, the top row first. */
typedef struct edge_pixels {
  size_t struct_size; /* sizeof(edge_pixels) */
  const uint8_t* data;
  size_t width;
  size_t height;
  size_t stride; /* bytes from one row to the next; 0: rows lie close together */
  edge_pixel_format format;
  size_t chroma; /* of NV12: bytes from data to the first row of chroma; 0: it follows the last row
                  * of luma */
} edge_pixels;

typedef struct edge_image edge_image;

/* A PNG, JPEG, PGM (P5) or PPM (P6), of a file or of `size` bytes in memory, or pixels. */
EDGE_FALLIBLE edge_error* edge_image_read(const edge_card* card, const char* path,
                                          const edge_limits* limits, edge_image** image);
EDGE_FALLIBLE edge_error* edge_image_decode(const edge_card* card, const void* data, size_t size,
                                            const edge_limits* limits, edge_image** image);
EDGE_FALLIBLE edge_error* edge_image_from_pixels(const edge_card* card, const edge_pixels* pixels,
                                                 const edge_limits* limits, edge_image** image);
EDGE_API void edge_image_free(edge_image* image);

/* How many inputs the network is to see one after the other: 1, unless the card cuts images into
 * tiles. */
EDGE_API size_t edge_image_tiles(const edge_image* image);

/* Writes the input for a tile, from 0 on: `count` values, as many as the card's input has. */
EDGE_FALLIBLE edge_error* edge_image_input(const edge_image* image, size_t tile, float* values,
                                           size_t count);

/* What the network made of it. */
typedef struct edge_tensor {
  const float* values; /* may be NULL where count is 0 */
  size_t count;
  const int64_t* shape; /* rank sizes; NULL: as the card says, where it leaves none open */
  size_t rank;
} edge_tensor;

/* Takes the outputs for a tile, in the card's order; tiles come in their order. */
EDGE_FALLIBLE edge_error* edge_image_set_outputs(edge_image* image, size_t tile,
                                                 const edge_tensor* outputs, size_t count);

/* ---- results: what the card's task makes of the outputs */

typedef struct edge_result edge_result;

/* Of an image, once the outputs for all of its tiles have come; of outputs, if the card's task is
 * EDGE_TASK_TENSOR. */
EDGE_FALLIBLE edge_error* edge_image_result(const edge_image* image, edge_result** result);
EDGE_FALLIBLE edge_error* edge_tensor_result(const edge_card* card, const edge_tensor* outputs,
                                             size_t count, edge_result** result);
EDGE_API void edge_result_free(edge_result* result);

/* The members that edge-infer's document has for an image, as one JSON object on one line. */
EDGE_API const char* edge_result_json(const edge_result* result);

typedef struct edge_classification {
  size_t index;                /* of the label; with a threshold in the card that decides */
  const char* label;           /* NUL-terminated UTF-8 */
  const double* probabilities; /* of all labels, in the card's order */
  size_t count;
} edge_classification;

/* Corners are in pixels of the upright image, whose first pixel reaches from 0 to 1. */
typedef struct edge_detection {
  size_t index; /* of the label */
  const char* label;
  double score;
  double left, top, right, bottom;
} edge_detection;

typedef struct edge_anomaly {
  int is_anomalous;
  double score;
  double area;           /* share of the map that reaches its threshold */
  double peak_x, peak_y; /* of the map, in pixels of the upright image; 0 without a map */
} edge_anomaly;

/* NULL where the result is of another task. */
EDGE_API const edge_classification* edge_result_classification(const edge_result* result);
EDGE_API const edge_anomaly* edge_result_anomaly(const edge_result* result);
/* `count` of them, the best first; NULL where there is none. */
EDGE_API const edge_detection* edge_result_detections(const edge_result* result, size_t* count);

#ifdef __cplusplus
}
#endif

#endif
