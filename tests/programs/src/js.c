/* Runs a file of JavaScript: print, read and write are what it has of the world. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "quickjs.h"

static char *slurp(const char *path, size_t *length) {
    FILE *file = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    char *text = NULL;
    size_t have = 0, n;
    if (!file) return NULL;
    do {
        text = realloc(text, have + 65537);
        n = fread(text + have, 1, 65536, file);
        have += n;
    } while (n);
    text[have] = 0;
    *length = have;
    return text;
}

static JSValue print(JSContext *c, JSValueConst self, int count, JSValueConst *args) {
    for (int i = 0; i < count; i++) {
        const char *text = JS_ToCString(c, args[i]);
        printf("%s%s", i ? " " : "", text ? text : "");
        JS_FreeCString(c, text);
    }
    puts("");
    return JS_UNDEFINED;
}

static JSValue read_file(JSContext *c, JSValueConst self, int count, JSValueConst *args) {
    const char *path = JS_ToCString(c, args[0]);
    size_t length;
    char *text = slurp(path, &length);
    JS_FreeCString(c, path);
    return text ? JS_NewStringLen(c, text, length) : JS_ThrowTypeError(c, "cannot read it");
}

static JSValue write_file(JSContext *c, JSValueConst self, int count, JSValueConst *args) {
    const char *path = JS_ToCString(c, args[0]), *text = JS_ToCString(c, args[1]);
    FILE *file = fopen(path, "wb");
    if (!file) return JS_ThrowTypeError(c, "cannot write it");
    fputs(text, file);
    fclose(file);
    return JS_UNDEFINED;
}

int main(int argc, char **argv) {
    JSContext *c = JS_NewContext(JS_NewRuntime());
    JSValue global = JS_GetGlobalObject(c), args = JS_NewArray(c);
    JS_SetPropertyStr(c, global, "print", JS_NewCFunction(c, print, "print", 1));
    JS_SetPropertyStr(c, global, "read", JS_NewCFunction(c, read_file, "read", 1));
    JS_SetPropertyStr(c, global, "write", JS_NewCFunction(c, write_file, "write", 2));
    for (int i = 2; i < argc; i++) JS_SetPropertyUint32(c, args, i - 2, JS_NewString(c, argv[i]));
    JS_SetPropertyStr(c, global, "args", args);
    size_t length;
    char *text = slurp(argv[1], &length);
    JSValue value = text ? JS_Eval(c, text, length, argv[1], 0) : JS_ThrowTypeError(c, "no such file");
    JSContext *other;
    while (!JS_IsException(value) && JS_ExecutePendingJob(JS_GetRuntime(c), &other) > 0) {}
    if (!JS_IsException(value)) return 0;
    JSValue error = JS_GetException(c);
    fprintf(stderr, "%s\n", JS_ToCString(c, error));
    return 1;
}
