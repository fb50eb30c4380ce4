// Package suite shows that the judges of the bundle do judge: operator-sdk, the tests of its scorecard, and opm, all built from source.
package suite
