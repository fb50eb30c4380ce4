// Package sandbox gives a testbed namespaces and control groups of its own, so that its node can neither disturb the machine nor outlive its end.
package sandbox
