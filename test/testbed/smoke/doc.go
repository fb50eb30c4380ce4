// Package smoke proves on running clusters what the testbed promises. Its tests need root on Linux, since the node is real.
package smoke
