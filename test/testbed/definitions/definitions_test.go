package definitions

import (
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRemovalFailed(t *testing.T) {
	now := metav1.NewTime(time.Now())
	for name, test := range map[string]struct {
		deleted *metav1.Time
		kind    apiextensionsv1.CustomResourceDefinitionConditionType
		reason  string
		want    bool
	}{
		"its objects could not be listed": {&now, apiextensionsv1.Terminating, "InstanceDeletionFailed", true},
		"its objects stayed for too long": {&now, apiextensionsv1.Terminating, "InstanceDeletionCheck", true},
		"its objects are being deleted":   {&now, apiextensionsv1.Terminating, "InstanceDeletionInProgress", false},
		"it serves":                       {nil, apiextensionsv1.Established, "InitialNamesAccepted", false},
		"nobody deleted it":               {nil, apiextensionsv1.Terminating, "InstanceDeletionFailed", false},
	} {
		definition := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: test.deleted}}
		definition.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: test.kind, Reason: test.reason}}
		if got := removalFailed(definition); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
