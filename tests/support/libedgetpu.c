/* A libedgetpu.so.1 without an Edge TPU: the interface TensorFlow Lite loads delegates by, and nothing behind it.

   What it does is told by environment variables:
   FAKE_LIBEDGETPU_SLEEP    seconds to take while loading; load_delegate holds the interpreter lock meanwhile
   FAKE_LIBEDGETPU_FAIL     refuse, and report this text (nothing when empty, as Google's library does)
   FAKE_LIBEDGETPU_ABORT    end the process while loading
   FAKE_LIBEDGETPU_DEVICE   refuse every other "device" option than this one
   Without them it gives a delegate that takes no step of the model, so the CPU computes all of it. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As tensorflow/lite/core/c/common.h lays it out; older run-times read less of it. */
struct delegate {
    void *data;
    int (*prepare)(void *context, struct delegate *delegate);
    void *copy_from_buffer_handle;
    void *copy_to_buffer_handle;
    void *free_buffer_handle;
    int64_t flags;
    void *opaque_delegate_builder;
};

static int take_nothing(void *context, struct delegate *delegate)
{
    (void)context;
    (void)delegate;
    return 0; /* kTfLiteOk */
}

struct delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *))
{
    const char *seconds = getenv("FAKE_LIBEDGETPU_SLEEP"), *failure = getenv("FAKE_LIBEDGETPU_FAIL");
    const char *device = getenv("FAKE_LIBEDGETPU_DEVICE");
    struct delegate *made;
    size_t i;

    if (seconds)
        sleep((unsigned)atoi(seconds));
    if (getenv("FAKE_LIBEDGETPU_ABORT"))
        abort();
    for (i = 0; device && i < count; i++)
        if (!strcmp(keys[i], "device") && strcmp(values[i], device))
            failure = "no such device";
    if (failure) {
        if (*failure)
            report(failure);
        return NULL;
    }
    made = calloc(1, sizeof *made);
    if (made)
        made->prepare = take_nothing;
    return made;
}

void tflite_plugin_destroy_delegate(struct delegate *delegate)
{
    free(delegate);
}
