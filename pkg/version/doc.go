// Package version decides which release is wanted: ranges, revisions, selection and the rules for moving from one release to another.
package version
