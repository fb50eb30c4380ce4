package main

import (
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// leaveIgnored gives the fields of an object that are left to others the values which they have in the cluster, as the operator keeps them.
func leaveIgnored(applied, live *unstructured.Unstructured) error {
	fields, err := v1.IgnoredFields(applied.GetAnnotations())
	for _, field := range fields {
		leave(applied.Object, live.Object, field)
	}
	return err
}

// leave replaces a field by what is in its place in another value, and removes it where there is nothing.
func leave(node, live any, field []string) {
	child, stated := inside(node, field[0])
	theirs, there := inside(live, field[0])
	if !stated {
		return
	}
	if len(field) > 1 {
		leave(child, theirs, field[1:])
		return
	}
	parent, isMap := node.(map[string]any)
	switch {
	case isMap && there:
		parent[field[0]] = theirs
	case isMap:
		delete(parent, field[0])
	}
}

// inside returns what a map has by that name, or a list at that position.
func inside(node any, token string) (any, bool) {
	switch node := node.(type) {
	case map[string]any:
		child, found := node[token]
		return child, found
	case []any:
		if at, err := strconv.Atoi(token); err == nil && at >= 0 && at < len(node) {
			return node[at], true
		}
	}
	return nil, false
}
