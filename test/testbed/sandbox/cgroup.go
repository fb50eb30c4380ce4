package sandbox

import (
	"fmt"
	"regexp"
)

// cgroupPrefix begins the name of every control group of this package. No other name, least of all an empty one that would mean
// the groups of the whole machine, may ever get through.
const cgroupPrefix = "flux-operator-testbed-"

var validCluster = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// CgroupName returns the name of the control group that belongs to a cluster; it refuses what would not be a name of its own.
func CgroupName(cluster string) (string, error) {
	if !validCluster.MatchString(cluster) {
		return "", fmt.Errorf("naming the control group of cluster %q: use lower-case letters, digits and hyphens", cluster)
	}
	return cgroupPrefix + cluster, nil
}
