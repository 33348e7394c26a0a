/* Overflows on purpose, built only with the sanitizers: that they end the process proves that they are active. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>
#include <string.h>

/* Read `far` bytes behind the end of a heap buffer of `size` bytes. */
static PyObject *heap(PyObject *self, PyObject *args) {
    Py_ssize_t size, far;
    unsigned char *data, value;
    if (!PyArg_ParseTuple(args, "nn", &size, &far)) return NULL;
    data = malloc((size_t)size);
    if (data == NULL) return PyErr_NoMemory();
    memset(data, 1, (size_t)size);
    value = ((volatile unsigned char *)data)[size + far];
    free(data);
    return PyLong_FromLong(value);
}

/* `number` and 1 as a C int. */
static PyObject *after(PyObject *self, PyObject *args) {
    int number;
    if (!PyArg_ParseTuple(args, "i", &number)) return NULL;
    return PyLong_FromLong(number + 1);
}

static PyMethodDef functions[] = {
    {"heap", heap, METH_VARARGS, "Read behind a heap buffer."},
    {"after", after, METH_VARARGS, "A number and 1."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "sanitizer_proof", NULL, -1, functions};

PyMODINIT_FUNC PyInit_sanitizer_proof(void) { return PyModule_Create(&module); }
