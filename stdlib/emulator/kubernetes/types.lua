--- The fields of the built-in types, as text that `schema.lua` compiles. A line is `Name: field=type ...`.
--
-- Types: s string, i integer, n number, b boolean, q quantity, x integer or string, t time, y bytes, ? anything;
-- {T} map, {T}! map that is one value; [T] list that is one value, [=T] set, [a,b:T] list with keys (the first is the
-- strategic merge key); @T an object that is one value to field managers; T another line. `field!=T`: required.
return [[
ObjectMeta: name=s generateName=s namespace=s selfLink=s uid=s resourceVersion=s generation=i creationTimestamp=t deletionTimestamp=t deletionGracePeriodSeconds=i labels={s} annotations={s} ownerReferences=[uid:@OwnerReference] finalizers=[=s] clusterName=s managedFields=[ManagedFieldsEntry]
OwnerReference: apiVersion!=s kind!=s name!=s uid!=s controller=b blockOwnerDeletion=b
ManagedFieldsEntry: manager=s operation=s apiVersion=s time=t fieldsType=s fieldsV1=? subresource=s
ListMeta: selfLink=s resourceVersion=s continue=s remainingItemCount=i
LabelSelector: matchLabels={s} matchExpressions=[LabelSelectorRequirement]
LabelSelectorRequirement: key!=s operator!=s values=[s]
LocalObjectReference: name=s
TypedLocalObjectReference: apiGroup=s kind!=s name!=s
TypedObjectReference: apiGroup=s kind!=s name!=s namespace=s
ObjectReference: kind=s namespace=s name=s uid=s apiVersion=s resourceVersion=s fieldPath=s
SecretReference: name=s namespace=s
Condition: type!=s status!=s observedGeneration=i lastTransitionTime=t reason=s message=s lastProbeTime=t lastUpdateTime=t lastHeartbeatTime=t
PodTemplateSpec: metadata=ObjectMeta spec=PodSpec
PodSpec: volumes=[name:Volume] initContainers=[name:Container] containers!=[name:Container] ephemeralContainers=[name:Container] restartPolicy=s terminationGracePeriodSeconds=i activeDeadlineSeconds=i dnsPolicy=s nodeSelector={s}! serviceAccountName=s serviceAccount=s automountServiceAccountToken=b nodeName=s hostNetwork=b hostPID=b hostIPC=b shareProcessNamespace=b securityContext=PodSecurityContext imagePullSecrets=[name:@LocalObjectReference] hostname=s subdomain=s affinity=Affinity schedulerName=s tolerations=[Toleration] hostAliases=[ip:HostAlias] priorityClassName=s priority=i dnsConfig=PodDNSConfig readinessGates=[PodReadinessGate] runtimeClassName=s enableServiceLinks=b preemptionPolicy=s overhead={q} topologySpreadConstraints=[topologyKey,whenUnsatisfiable:TopologySpreadConstraint] setHostnameAsFQDN=b os=PodOS hostUsers=b schedulingGates=[name:PodSchedulingGate] resourceClaims=[name:PodResourceClaim] resources=ResourceRequirements hostnameOverride=s
PodOS: name!=s
PodSchedulingGate: name!=s
PodResourceClaim: name!=s resourceClaimName=s resourceClaimTemplateName=s
PodReadinessGate: conditionType!=s
PodDNSConfig: nameservers=[s] searches=[s] options=[PodDNSConfigOption]
PodDNSConfigOption: name=s value=s
HostAlias: ip=s hostnames=[s]
Toleration: key=s operator=s value=s effect=s tolerationSeconds=i
TopologySpreadConstraint: maxSkew!=i topologyKey!=s whenUnsatisfiable!=s labelSelector=@LabelSelector minDomains=i nodeAffinityPolicy=s nodeTaintsPolicy=s matchLabelKeys=[s]
Affinity: nodeAffinity=NodeAffinity podAffinity=PodAffinity podAntiAffinity=PodAffinity
NodeAffinity: requiredDuringSchedulingIgnoredDuringExecution=@NodeSelector preferredDuringSchedulingIgnoredDuringExecution=[PreferredSchedulingTerm]
NodeSelector: nodeSelectorTerms!=[NodeSelectorTerm]
NodeSelectorTerm: matchExpressions=[LabelSelectorRequirement] matchFields=[LabelSelectorRequirement]
PreferredSchedulingTerm: weight!=i preference!=NodeSelectorTerm
PodAffinity: requiredDuringSchedulingIgnoredDuringExecution=[PodAffinityTerm] preferredDuringSchedulingIgnoredDuringExecution=[WeightedPodAffinityTerm]
PodAffinityTerm: labelSelector=@LabelSelector namespaces=[s] topologyKey!=s namespaceSelector=@LabelSelector matchLabelKeys=[s] mismatchLabelKeys=[s]
WeightedPodAffinityTerm: weight!=i podAffinityTerm!=PodAffinityTerm
PodSecurityContext: seLinuxOptions=SELinuxOptions windowsOptions=WindowsSecurityContextOptions runAsUser=i runAsGroup=i runAsNonRoot=b supplementalGroups=[i] supplementalGroupsPolicy=s fsGroup=i fsGroupChangePolicy=s sysctls=[Sysctl] seccompProfile=SeccompProfile appArmorProfile=AppArmorProfile seLinuxChangePolicy=s
SELinuxOptions: user=s role=s type=s level=s
WindowsSecurityContextOptions: gmsaCredentialSpecName=s gmsaCredentialSpec=s runAsUserName=s hostProcess=b
Sysctl: name!=s value!=s
SeccompProfile: type!=s localhostProfile=s
AppArmorProfile: type!=s localhostProfile=s
SecurityContext: capabilities=Capabilities privileged=b seLinuxOptions=SELinuxOptions windowsOptions=WindowsSecurityContextOptions runAsUser=i runAsGroup=i runAsNonRoot=b readOnlyRootFilesystem=b allowPrivilegeEscalation=b procMount=s seccompProfile=SeccompProfile appArmorProfile=AppArmorProfile
Capabilities: add=[s] drop=[s]
Container: name!=s image=s command=[s] args=[s] workingDir=s ports=[containerPort,protocol:ContainerPort] envFrom=[EnvFromSource] env=[name:EnvVar] resources=ResourceRequirements resizePolicy=[ContainerResizePolicy] restartPolicy=s restartPolicyRules=[?] volumeMounts=[mountPath:VolumeMount] volumeDevices=[devicePath:VolumeDevice] livenessProbe=Probe readinessProbe=Probe startupProbe=Probe lifecycle=Lifecycle terminationMessagePath=s terminationMessagePolicy=s imagePullPolicy=s securityContext=SecurityContext stdin=b stdinOnce=b tty=b targetContainerName=s
ContainerPort: name=s hostPort=i containerPort!=i protocol=s hostIP=s
ContainerResizePolicy: resourceName!=s restartPolicy!=s
EnvFromSource: prefix=s configMapRef=ConfigMapEnvSource secretRef=SecretEnvSource
ConfigMapEnvSource: name=s optional=b
SecretEnvSource: name=s optional=b
EnvVar: name!=s value=s valueFrom=EnvVarSource
EnvVarSource: fieldRef=@ObjectFieldSelector resourceFieldRef=@ResourceFieldSelector configMapKeyRef=@KeySelector secretKeyRef=@KeySelector fileKeyRef=?
ObjectFieldSelector: apiVersion=s fieldPath!=s
ResourceFieldSelector: containerName=s resource!=s divisor=q
KeySelector: name=s key!=s optional=b
ResourceRequirements: limits={q} requests={q} claims=[name:ResourceClaim]
ResourceClaim: name!=s request=s
VolumeMount: name!=s readOnly=b mountPath!=s subPath=s mountPropagation=s subPathExpr=s recursiveReadOnly=s
VolumeDevice: name!=s devicePath!=s
Probe: exec=ExecAction httpGet=HTTPGetAction tcpSocket=TCPSocketAction grpc=GRPCAction initialDelaySeconds=i timeoutSeconds=i periodSeconds=i successThreshold=i failureThreshold=i terminationGracePeriodSeconds=i
ExecAction: command=[s]
HTTPGetAction: path=s port!=x host=s scheme=s httpHeaders=[HTTPHeader]
HTTPHeader: name!=s value!=s
TCPSocketAction: port!=x host=s
GRPCAction: port!=i service=s
SleepAction: seconds!=i
Lifecycle: postStart=LifecycleHandler preStop=LifecycleHandler stopSignal=s
LifecycleHandler: exec=ExecAction httpGet=HTTPGetAction tcpSocket=TCPSocketAction sleep=SleepAction
Volume: name!=s hostPath=HostPathVolumeSource emptyDir=EmptyDirVolumeSource secret=SecretVolumeSource configMap=ConfigMapVolumeSource persistentVolumeClaim=PersistentVolumeClaimVolumeSource projected=ProjectedVolumeSource downwardAPI=DownwardAPIVolumeSource csi=CSIVolumeSource ephemeral=EphemeralVolumeSource nfs=NFSVolumeSource azureDisk=AzureDiskVolumeSource azureFile=AzureFileVolumeSource image=ImageVolumeSource gitRepo=? gcePersistentDisk=? awsElasticBlockStore=? iscsi=? glusterfs=? rbd=? flexVolume=? cinder=? cephfs=? flocker=? fc=? vsphereVolume=? quobyte=? photonPersistentDisk=? portworxVolume=? scaleIO=? storageos=?
HostPathVolumeSource: path!=s type=s
EmptyDirVolumeSource: medium=s sizeLimit=q
SecretVolumeSource: secretName=s items=[KeyToPath] defaultMode=i optional=b
ConfigMapVolumeSource: name=s items=[KeyToPath] defaultMode=i optional=b
KeyToPath: key!=s path!=s mode=i
PersistentVolumeClaimVolumeSource: claimName!=s readOnly=b
ProjectedVolumeSource: sources=[VolumeProjection] defaultMode=i
VolumeProjection: secret=SecretProjection downwardAPI=DownwardAPIProjection configMap=ConfigMapProjection serviceAccountToken=ServiceAccountTokenProjection clusterTrustBundle=? podCertificate=?
SecretProjection: name=s items=[KeyToPath] optional=b
ConfigMapProjection: name=s items=[KeyToPath] optional=b
DownwardAPIProjection: items=[DownwardAPIVolumeFile]
DownwardAPIVolumeSource: items=[DownwardAPIVolumeFile] defaultMode=i
DownwardAPIVolumeFile: path!=s fieldRef=@ObjectFieldSelector resourceFieldRef=@ResourceFieldSelector mode=i
ServiceAccountTokenProjection: audience=s expirationSeconds=i path!=s
CSIVolumeSource: driver!=s readOnly=b fsType=s volumeAttributes={s} nodePublishSecretRef=@LocalObjectReference
EphemeralVolumeSource: volumeClaimTemplate=PersistentVolumeClaimTemplate
PersistentVolumeClaimTemplate: metadata=ObjectMeta spec!=PersistentVolumeClaimSpec
NFSVolumeSource: server!=s path!=s readOnly=b
AzureDiskVolumeSource: diskName!=s diskURI!=s cachingMode=s fsType=s readOnly=b kind=s
AzureFileVolumeSource: secretName!=s shareName!=s readOnly=b secretNamespace=s
ImageVolumeSource: reference=s pullPolicy=s
PodStatus: phase=s conditions=[type:Condition] message=s reason=s nominatedNodeName=s hostIP=s hostIPs=[ip:IP] podIP=s podIPs=[ip:IP] startTime=t initContainerStatuses=[ContainerStatus] containerStatuses=[ContainerStatus] ephemeralContainerStatuses=[ContainerStatus] qosClass=s resize=s resourceClaimStatuses=? observedGeneration=i extendedResourceClaimStatus=? allocatedResources=? resources=?
IP: ip=s
ContainerStatus: name!=s state=ContainerState lastState=ContainerState ready=b restartCount=i image=s imageID=s containerID=s started=b allocatedResources={q} resources=ResourceRequirements volumeMounts=? user=? allocatedResourcesStatus=? stopSignal=s
ContainerState: waiting=ContainerStateWaiting running=ContainerStateRunning terminated=ContainerStateTerminated
ContainerStateWaiting: reason=s message=s
ContainerStateRunning: startedAt=t
ContainerStateTerminated: exitCode=i signal=i reason=s message=s startedAt=t finishedAt=t containerID=s
NodeSpec: podCIDR=s podCIDRs=[=s] providerID=s unschedulable=b taints=[Taint] configSource=? externalID=s
Taint: key!=s value=s effect!=s timeAdded=t
NodeStatus: capacity={q} allocatable={q} phase=s conditions=[type:Condition] addresses=[type:NodeAddress] daemonEndpoints=NodeDaemonEndpoints nodeInfo=NodeSystemInfo images=[ContainerImage] volumesInUse=[s] volumesAttached=[?] config=? runtimeHandlers=? features=? declaredFeatures=?
NodeAddress: type!=s address!=s
NodeDaemonEndpoints: kubeletEndpoint=DaemonEndpoint
DaemonEndpoint: Port=i
NodeSystemInfo: machineID=s systemUUID=s bootID=s kernelVersion=s osImage=s containerRuntimeVersion=s kubeletVersion=s kubeProxyVersion=s operatingSystem=s architecture=s swap=?
ContainerImage: names=[s] sizeBytes=i
NamespaceSpec: finalizers=[s]
NamespaceStatus: phase=s conditions=[type:Condition]
ServiceSpec: ports=[port,protocol:ServicePort] selector={s}! clusterIP=s clusterIPs=[s] type=s externalIPs=[s] sessionAffinity=s loadBalancerIP=s loadBalancerSourceRanges=[s] externalName=s externalTrafficPolicy=s healthCheckNodePort=i publishNotReadyAddresses=b sessionAffinityConfig=? ipFamilies=[s] ipFamilyPolicy=s allocateLoadBalancerNodePorts=b loadBalancerClass=s internalTrafficPolicy=s trafficDistribution=s topologyKeys=[s] ipFamily=s
ServicePort: name=s protocol=s appProtocol=s port!=i targetPort=x nodePort=i
ServiceStatus: loadBalancer=LoadBalancerStatus conditions=[type:Condition]
LoadBalancerStatus: ingress=[?]
EndpointSubset: addresses=[EndpointAddress] notReadyAddresses=[EndpointAddress] ports=[EndpointPort]
EndpointAddress: ip!=s hostname=s nodeName=s targetRef=@ObjectReference
EndpointPort: name=s port=i protocol=s appProtocol=s
Endpoint: addresses!=[=s] conditions=EndpointConditions hostname=s targetRef=@ObjectReference nodeName=s zone=s hints=? deprecatedTopology={s} topology={s}
EndpointConditions: ready=b serving=b terminating=b
EventSource: component=s host=s
EventSeries: count=i lastObservedTime=t
PersistentVolumeSpec: capacity={q} accessModes=[s] claimRef=@ObjectReference persistentVolumeReclaimPolicy=s storageClassName=s mountOptions=[s] volumeMode=s nodeAffinity=? volumeAttributesClassName=s csi=? hostPath=HostPathVolumeSource local=? nfs=NFSVolumeSource azureDisk=? azureFile=? iscsi=? gcePersistentDisk=? awsElasticBlockStore=?
PersistentVolumeStatus: phase=s message=s reason=s lastPhaseTransitionTime=t
PersistentVolumeClaimSpec: accessModes=[s] selector=@LabelSelector resources=ResourceRequirements volumeName=s storageClassName=s volumeMode=s dataSource=@TypedLocalObjectReference dataSourceRef=TypedObjectReference volumeAttributesClassName=s
PersistentVolumeClaimStatus: phase=s accessModes=[s] capacity={q} conditions=[type:Condition] allocatedResources={q} allocatedResourceStatuses={s} currentVolumeAttributesClassName=s modifyVolumeStatus=?
ResourceQuotaSpec: hard={q} scopes=[s] scopeSelector=?
ResourceQuotaStatus: hard={q} used={q}
LimitRangeSpec: limits!=[LimitRangeItem]
LimitRangeItem: type!=s max={q} min={q} default={q} defaultRequest={q} maxLimitRequestRatio={q}
ReplicationControllerSpec: replicas=i minReadySeconds=i selector={s}! template=PodTemplateSpec
ScaledStatus: replicas=i fullyLabeledReplicas=i readyReplicas=i availableReplicas=i terminatingReplicas=i observedGeneration=i conditions=[type:Condition]
DeploymentSpec: replicas=i selector!=@LabelSelector template!=PodTemplateSpec strategy=DeploymentStrategy minReadySeconds=i revisionHistoryLimit=i paused=b progressDeadlineSeconds=i
DeploymentStrategy: type=s rollingUpdate=RollingUpdate
RollingUpdate: maxUnavailable=x maxSurge=x partition=i
DeploymentStatus: observedGeneration=i replicas=i updatedReplicas=i readyReplicas=i availableReplicas=i unavailableReplicas=i terminatingReplicas=i conditions=[type:Condition] collisionCount=i
ReplicaSetSpec: replicas=i minReadySeconds=i selector!=@LabelSelector template=PodTemplateSpec
DaemonSetSpec: selector!=@LabelSelector template!=PodTemplateSpec updateStrategy=UpdateStrategy minReadySeconds=i revisionHistoryLimit=i
UpdateStrategy: type=s rollingUpdate=RollingUpdate
DaemonSetStatus: currentNumberScheduled=i numberMisscheduled=i desiredNumberScheduled=i numberReady=i observedGeneration=i updatedNumberScheduled=i numberAvailable=i numberUnavailable=i collisionCount=i conditions=[type:Condition]
StatefulSetSpec: replicas=i selector!=@LabelSelector template!=PodTemplateSpec volumeClaimTemplates=[?] serviceName=s podManagementPolicy=s updateStrategy=UpdateStrategy revisionHistoryLimit=i minReadySeconds=i persistentVolumeClaimRetentionPolicy=? ordinals=?
StatefulSetStatus: observedGeneration=i replicas=i readyReplicas=i currentReplicas=i updatedReplicas=i currentRevision=s updateRevision=s collisionCount=i conditions=[type:Condition] availableReplicas=i
JobSpec: parallelism=i completions=i activeDeadlineSeconds=i podFailurePolicy=? successPolicy=? backoffLimit=i backoffLimitPerIndex=i maxFailedIndexes=i selector=@LabelSelector manualSelector=b template!=PodTemplateSpec ttlSecondsAfterFinished=i completionMode=s suspend=b podReplacementPolicy=s managedBy=s
JobStatus: conditions=[type:Condition] startTime=t completionTime=t active=i succeeded=i failed=i terminating=i completedIndexes=s failedIndexes=s uncountedTerminatedPods=? ready=i
JobTemplateSpec: metadata=ObjectMeta spec=JobSpec
CronJobSpec: schedule!=s timeZone=s startingDeadlineSeconds=i concurrencyPolicy=s suspend=b jobTemplate!=JobTemplateSpec successfulJobsHistoryLimit=i failedJobsHistoryLimit=i
CronJobStatus: active=[@ObjectReference] lastScheduleTime=t lastSuccessfulTime=t
PolicyRule: verbs!=[s] apiGroups=[s] resources=[s] resourceNames=[s] nonResourceURLs=[s]
AggregationRule: clusterRoleSelectors=[LabelSelector]
RoleRef: apiGroup=s kind!=s name!=s
Subject: kind!=s apiGroup=s name!=s namespace=s
NetworkPolicySpec: podSelector=@LabelSelector ingress=[NetworkPolicyIngressRule] egress=[NetworkPolicyEgressRule] policyTypes=[s]
NetworkPolicyIngressRule: ports=[NetworkPolicyPort] from=[NetworkPolicyPeer]
NetworkPolicyEgressRule: ports=[NetworkPolicyPort] to=[NetworkPolicyPeer]
NetworkPolicyPort: protocol=s port=x endPort=i
NetworkPolicyPeer: podSelector=@LabelSelector namespaceSelector=@LabelSelector ipBlock=IPBlock
IPBlock: cidr!=s except=[s]
IngressSpec: ingressClassName=s defaultBackend=IngressBackend tls=[IngressTLS] rules=[IngressRule]
IngressBackend: service=IngressServiceBackend resource=@TypedLocalObjectReference
IngressServiceBackend: name!=s port=ServiceBackendPort
ServiceBackendPort: name=s number=i
IngressTLS: hosts=[s] secretName=s
IngressRule: host=s http=HTTPIngressRuleValue
HTTPIngressRuleValue: paths!=[HTTPIngressPath]
HTTPIngressPath: path=s pathType!=s backend!=IngressBackend
IngressStatus: loadBalancer=LoadBalancerStatus
IngressClassSpec: controller=s parameters=?
PodDisruptionBudgetSpec: minAvailable=x selector=@LabelSelector maxUnavailable=x unhealthyPodEvictionPolicy=s
PodDisruptionBudgetStatus: observedGeneration=i disruptedPods={t} disruptionsAllowed=i currentHealthy=i desiredHealthy=i expectedPods=i conditions=[type:Condition]
HorizontalPodAutoscalerSpec: scaleTargetRef!=CrossVersionObjectReference minReplicas=i maxReplicas!=i metrics=[?] behavior=?
CrossVersionObjectReference: kind!=s name!=s apiVersion=s
HorizontalPodAutoscalerStatus: observedGeneration=i lastScaleTime=t currentReplicas=i desiredReplicas=i currentMetrics=[?] conditions=[type:Condition]
ScaleSpec: replicas=i
ScaleStatus: replicas=i selector=s
LeaseSpec: holderIdentity=s leaseDurationSeconds=i acquireTime=t renewTime=t leaseTransitions=i strategy=s preferredHolder=s
CertificateSigningRequestSpec: request!=y signerName=s expirationSeconds=i usages=[s] username=s uid=s groups=[s] extra={?}
CertificateSigningRequestStatus: conditions=[type:Condition] certificate=y
TokenRequestSpec: audiences=[s] expirationSeconds=i boundObjectRef=?
TokenRequestStatus: token=s expirationTimestamp=t
CustomResourceDefinitionSpec: group!=s names!=CustomResourceDefinitionNames scope!=s versions!=[CustomResourceDefinitionVersion] conversion=CustomResourceConversion preserveUnknownFields=b
CustomResourceDefinitionNames: plural!=s singular=s shortNames=[s] kind!=s listKind=s categories=[s]
CustomResourceDefinitionVersion: name!=s served!=b storage!=b deprecated=b deprecationWarning=s schema=CustomResourceValidation subresources=CustomResourceSubresources additionalPrinterColumns=[CustomResourceColumnDefinition] selectableFields=[?]
CustomResourceValidation: openAPIV3Schema=?
CustomResourceSubresources: status=? scale=CustomResourceSubresourceScale
CustomResourceSubresourceScale: specReplicasPath!=s statusReplicasPath!=s labelSelectorPath=s
CustomResourceColumnDefinition: name!=s type!=s format=s description=s priority=i jsonPath!=s
CustomResourceConversion: strategy!=s webhook=?
CustomResourceDefinitionStatus: conditions=[type:Condition] acceptedNames=CustomResourceDefinitionNames storedVersions=[s] observedGeneration=i
APIServiceSpec: service=ServiceReference group=s version=s insecureSkipTLSVerify=b caBundle=y groupPriorityMinimum=i versionPriority=i
ServiceReference: namespace=s name=s port=i path=s
APIServiceStatus: conditions=[type:Condition]
Webhook: name!=s clientConfig!=WebhookClientConfig rules=[RuleWithOperations] failurePolicy=s matchPolicy=s namespaceSelector=@LabelSelector objectSelector=@LabelSelector sideEffects=s timeoutSeconds=i admissionReviewVersions=[s] reinvocationPolicy=s matchConditions=[name:MatchCondition]
MatchCondition: name!=s expression!=s
WebhookClientConfig: url=s service=ServiceReference caBundle=y
RuleWithOperations: operations=[s] apiGroups=[s] apiVersions=[s] resources=[s] scope=s
CSIDriverSpec: attachRequired=b podInfoOnMount=b volumeLifecycleModes=[=s] storageCapacity=b fsGroupPolicy=s tokenRequests=[?] requiresRepublish=b seLinuxMount=b nodeAllocatableUpdatePeriodSeconds=i serviceAccountTokenInSecrets=b
CSINodeSpec: drivers!=[name:CSINodeDriver]
CSINodeDriver: name!=s nodeID!=s topologyKeys=[s] allocatable=?
VolumeAttachmentSpec: attacher!=s source!=? nodeName!=s
VolumeAttachmentStatus: attached=b attachmentMetadata={s} attachError=? detachError=?
Overhead: podFixed={q}
Scheduling: nodeSelector={s}! tolerations=[Toleration]
SelfSubjectAccessReviewSpec: resourceAttributes=ResourceAttributes nonResourceAttributes=NonResourceAttributes
SubjectAccessReviewSpec: resourceAttributes=ResourceAttributes nonResourceAttributes=NonResourceAttributes user=s groups=[s] extra={?} uid=s
ResourceAttributes: namespace=s verb=s group=s version=s resource=s subresource=s name=s fieldSelector=? labelSelector=?
NonResourceAttributes: path=s verb=s
SubjectAccessReviewStatus: allowed!=b denied=b reason=s evaluationError=s
SelfSubjectRulesReviewSpec: namespace=s
SubjectRulesReviewStatus: resourceRules=[?] nonResourceRules=[?] incomplete=b evaluationError=s
TokenReviewSpec: token=s audiences=[s]
TokenReviewStatus: authenticated=b user=? audiences=[s] error=s
DeleteOptions: kind=s apiVersion=s gracePeriodSeconds=i preconditions=? orphanDependents=b propagationPolicy=s dryRun=[s] ignoreStoreReadErrorWithClusterBreakingPotential=b
]]
